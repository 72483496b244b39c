//! The whole gateway from outside: a browser, a phone, WeChat and an application, all in one process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod api;
mod attacks;
mod binary;
mod chromium;
mod ending;
mod forward_auth;
mod front;
mod health;
mod login;
mod no_script;
mod operations;
mod people;
mod session;
mod support;
mod ticket;
mod upstream_tls;
mod upstreams;
mod users;
mod wechat_fails;
