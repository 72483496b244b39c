//! Pingora: assembly, hooks, normaliser, client address, upstreams, responses.

pub mod authority;
pub mod client_address;
pub mod cookies;
pub mod framing;
pub mod front;
pub mod normalise;
pub mod raw_head;
pub mod strip;
pub mod tls;

pub use crate::gate::{origin, request_class};
