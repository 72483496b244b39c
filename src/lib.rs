//! Menshen: a reverse-proxy authentication gateway.
//!
//! Imports point one way: `cli → proxy → portal → login → accounts, wechat → store`. `gate`, `session` and `identity`
//! know no HTTP server; `config` and `telemetry` are at everybody's service and import none of the others.

pub mod accounts;
pub mod cli;
pub mod config;
pub mod gate;
pub mod identity;
pub mod login;
pub mod portal;
pub mod proxy;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod wechat;
