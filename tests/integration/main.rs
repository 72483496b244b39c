//! The whole gateway from outside: a browser, a phone, WeChat and an application, all in one process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod attacks;
mod chromium;
mod ending;
mod login;
mod no_script;
mod people;
mod support;
mod ticket;
mod upstreams;
mod wechat_fails;
