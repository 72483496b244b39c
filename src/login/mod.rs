//! Tickets and the ways to log in.

pub mod browser_half;
pub mod device;
pub mod limits;
pub mod place;
pub mod scene;
pub mod waiters;
