//! Logs on standard error: JSON lines for machines, text for people.
//!
//! Pingora speaks through `log`; its lines are bridged. It is held to warnings: at finer levels it prints whole header
//! blocks, cookies included.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

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

/// Which lines are written.
#[derive(Debug)]
pub struct Filter(EnvFilter);

/// Starts the logs of this process.
///
/// # Errors
/// See [`LogError`].
pub fn start(settings: &Log) -> Result<(), LogError> {
    let filter = filter(settings)?.0;
    let lines = tracing_subscriber::fmt().with_writer(io::stderr);
    let (started, replace): (_, Replace) = match settings.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            (lines.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Text => {
            let lines = lines.with_ansi(io::stderr().is_terminal());
            let lines = lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            (lines.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    started.map_err(|_| LogError::Started)?;
    // Started once, so set once.
    let _ = REPLACE.set(replace);
    Ok(())
}

/// The filter of these settings.
///
/// # Errors
/// [`LogError::Level`].
pub fn filter(settings: &Log) -> Result<Filter, LogError> {
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
    Ok(Filter(filter))
}

/// Filters by this from now on, where the logs are this module's.
pub fn replace(filter: Filter) {
    if let Some(replace) = REPLACE.get() {
        replace(filter.0);
    }
}

type Replace = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// The subscriber is the process's own, and so is the way to its filter.
static REPLACE: OnceLock<Replace> = OnceLock::new();

const QUIET: [&str; 4] = ["pingora_core=warn", "pingora_proxy=off", "sqlx=warn", "h2=warn"];
