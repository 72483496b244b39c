//! What an upstream learns about a person: assertion, headers, signing keys.

pub mod assertion;
pub mod headers;
pub mod outgoing;
pub mod person;
pub mod wrap;
