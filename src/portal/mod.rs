//! What Menshen itself answers, under the reserved prefix.

pub mod code;
