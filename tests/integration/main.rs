//! The whole gateway from outside: a browser, a phone, WeChat and an application, all in one process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod account;
mod api;
mod app_tickets;
mod attacks;
mod backup;
mod binary;
mod binding;
mod chromium;
mod chromium_phone;
mod chromium_popup;
mod connect;
mod doctor;
mod ending;
mod forward_auth;
mod front;
mod health;
mod keys;
mod launch;
mod limits;
mod login;
mod mini_program;
mod mobile;
mod no_script;
mod nodes;
mod official_account;
mod operations;
mod people;
mod places;
mod popup;
mod session;
mod sessions_cli;
mod single_sign_on;
mod support;
mod ticket;
mod tokens;
#[cfg(feature = "otel")]
mod traces;
mod upstream_tls;
mod upstreams;
mod users;
mod waiting;
mod web_login;
mod wechat_fails;
