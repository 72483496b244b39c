//! Adversarial and wire-level tests: bytes in at the gateway's door, bytes out at a recording upstream.
//!
//! Every case names the class of attack that it belongs to, by an advisory where there is one, and states a rule of the
//! gateway: it fails when the rule is taken away.

mod recorder;
pub(crate) mod stage;
pub(crate) mod wire;

mod cookies;
mod cross_origin;
mod forwarded;
mod http2;
mod identity_headers;
mod logs;
mod navigations;
mod paths;
mod redirects;
mod responses;
mod smuggling;
mod streams;
mod upstream_failures;
mod websockets;
