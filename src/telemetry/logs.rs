//! Logs on standard error: JSON lines for machines, text for people.
//!
//! Pingora speaks through `log`; its lines are bridged. It is held to warnings: at finer levels it prints whole header
//! blocks, cookies included.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::settings::{Log, LogFormat};

/// The logs cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("log.level {level:?} is no filter: write trace, debug, info, warn or error, or target=level pairs")]
    Level {
        /// What was written.
        level: String,
    },
    /// Somebody else has.
    #[error("logs are started already")]
    Started,
}

/// Starts the logs of this process.
///
/// # Errors
/// See [`LogError`].
pub fn start(settings: &Log) -> Result<(), LogError> {
    let bad = |_| LogError::Level {
        level: settings.level.clone(),
    };
    let mut filter = EnvFilter::try_new(&settings.level).map_err(bad)?;
    if !settings.level.contains("pingora") {
        for quiet in QUIET {
            if let Ok(directive) = quiet.parse() {
                filter = filter.add_directive(directive);
            }
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match settings.format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|_| LogError::Started)
}

const QUIET: [&str; 4] = ["pingora_core=warn", "pingora_proxy=off", "sqlx=warn", "h2=warn"];
