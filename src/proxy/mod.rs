//! Pingora: assembly, hooks, normaliser, client address, upstreams, responses.

pub mod admin;
pub mod admission;
pub mod authority;
pub mod bridge;
pub mod client_address;
pub mod cookies;
mod cork;
mod follow_keys;
pub mod forward_auth;
pub mod framing;
pub mod front;
pub mod gateway;
pub mod handover;
mod heartbeat;
pub mod hooks;
pub mod neighbours;
pub mod normalise;
mod ongoing;
pub mod outgoing;
pub mod proxy_protocol;
pub mod raw_head;
pub mod reload;
pub mod resources;
pub mod snapshot;
pub mod strip;
pub mod tls;
pub mod upstream;
pub mod watch;

pub use crate::gate::{origin, request_class};
