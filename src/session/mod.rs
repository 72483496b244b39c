//! What a browser holds after a login.

pub mod bearer;
pub mod cache;
pub mod cached;
pub mod cookie;
pub mod registry;
pub mod revocation;
pub mod seal;
pub mod token;
pub mod tokens;
pub mod unused;
pub mod uses;
