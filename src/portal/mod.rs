//! What Menshen itself answers, under the reserved prefix.

pub mod code;
pub mod pages;
pub mod texts;
