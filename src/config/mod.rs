//! What the operator wrote, and the validated settings that the program runs on.

pub mod connection_tag;
pub mod settings;

pub use settings::Settings;
