//! Pingora: assembly, hooks, normaliser, client address, upstreams, responses.

pub mod front;
pub mod tls;
