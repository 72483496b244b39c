//! Tickets and the ways to log in.

pub mod device;
pub mod scene;
