//! What a browser holds after a login.

pub mod cache;
pub mod cookie;
pub mod registry;
pub mod revocation;
pub mod seal;
pub mod token;
pub mod unused;
pub mod uses;
