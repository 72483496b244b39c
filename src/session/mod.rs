//! What a browser holds after a login.

pub mod seal;
