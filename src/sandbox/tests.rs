//! The sandbox over HTTP, as a gateway meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod account;
mod api;
mod gateway;
mod orders;
mod server;
mod web;
