//! What the operator wrote, and the validated settings that the program runs on.
//!
//! [`load()`] turns a file into [`Settings`] or into every mistake in it, each with line, column and what to write
//! instead. `schema` holds the keys and their defaults, `read` their types, `check` what they mean together.

mod check;
mod connection_tag;
mod fingerprint;
mod header;
mod host;
mod load;
mod mistake;
mod node;
mod path;
mod read;
mod reading;
mod requirement;
pub mod schema;
mod secret;
mod section;
pub mod settings;
mod surroundings;
#[cfg(test)]
mod tests;
mod upstream;
mod values;
mod words;

use std::path::PathBuf;

pub use connection_tag::connection_tag;
pub use fingerprint::{Fingerprints, fingerprints};
pub use load::{Loaded, load, load_with, parse};
pub use mistake::{Mistake, Severity};
pub use secret::{RandomUnavailable, secret};
pub use settings::Settings;
pub use surroundings::{Surroundings, System};

/// The file to load: the one that was named, else `$MENSHEN_CONFIG`, else `./config/menshen.toml`.
pub fn find(path: Option<PathBuf>, surroundings: &dyn Surroundings) -> PathBuf {
    let from_environment = || {
        surroundings
            .variable(VARIABLE)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    path.or_else(from_environment)
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

/// A duration as the file writes it (`"90s"`, `"24h"`, `"14d"`), from elsewhere.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    values::parse_duration(text).map_err(|fault| format!("{}: {}", fault.message, fault.remedy))
}

/// Names the configuration file when the command line does not.
pub const VARIABLE: &str = "MENSHEN_CONFIG";

/// The configuration file when nothing names one.
pub const DEFAULT_FILE: &str = "config/menshen.toml";
