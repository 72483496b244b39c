//! Loading: from a path to settings, or to every mistake in the file.
//!
//! The document is parsed by the `toml` crate into a tree with positions, and the tree is walked by hand. serde would
//! be shorter and stop at the first mistake of each table; an operator who is told one mistake per start gives up on
//! the fifth. Errors of the TOML syntax are all reported too, but alone: before the structure is known, what a key
//! means is a guess. Keys that stand there twice are the exception, since they break nothing else.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::check::check;
use super::mistake::{Mistake, Severity};
use super::read::read;
use super::reading::Reading;
use super::settings::Settings;
use super::surroundings::{Surroundings, System};

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What works and may surprise, in the order of the file.
    pub warnings: Vec<Mistake>,
    /// Every file that the configuration names and that was read (certificates, secrets, branding, the place
    /// database), absolute and without the configuration file itself: what a reload has to watch.
    pub files: Vec<PathBuf>,
}

/// Loads a configuration file with this process's environment.
///
/// # Errors
/// All mistakes of the file, with its warnings, in the order of the file. At least one is an error.
pub fn load(path: &Path) -> Result<Loaded, Vec<Mistake>> {
    load_with(path, &System)
}

/// Loads a configuration file with the environment and the files of `surroundings`.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, surroundings: &dyn Surroundings) -> Result<Loaded, Vec<Mistake>> {
    let bytes = surroundings.read(path, LARGEST_FILE + 1).map_err(|error| {
        let remedy = "name the file with --config, or in MENSHEN_CONFIG";
        vec![whole_file(
            path,
            format!("the configuration cannot be read: {error}"),
            remedy,
        )]
    })?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > LARGEST_FILE) {
        return Err(vec![whole_file(
            path,
            "this is larger than any configuration (1MiB)".to_owned(),
            "name the right file",
        )]);
    }
    match String::from_utf8(bytes) {
        Ok(source) => parse(path, &source, surroundings),
        Err(error) => {
            let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let mut reading = Reading::new(path, &good, surroundings);
            reading.error_at(
                Some(good.len()..good.len()),
                "this byte is not UTF-8",
                "save the file as UTF-8",
            );
            Err(reading.finish().0)
        }
    }
}

/// Loads a configuration from its text; `path` is what mistakes name and where relative paths start.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, source: &str, surroundings: &dyn Surroundings) -> Result<Loaded, Vec<Mistake>> {
    let mut reading = Reading::new(path, source, surroundings);
    let (document, errors) = DeTable::parse_recoverable(source);
    let mut broken = false;
    for error in &errors {
        let twice = error.message().contains("duplicate key");
        broken |= !twice;
        let (message, remedy) = match error.message() {
            _ if twice => ("this key stands here twice".to_owned(), "remove one"),
            message => (message.to_owned(), remedy_for_syntax(message)),
        };
        reading.error_at(error.span(), message, remedy);
    }
    if broken {
        return Err(reading.finish().0);
    }
    let settings = read(&mut reading, document.get_ref());
    check(&mut reading, &settings);
    reading.check_literal_secret();
    let (mistakes, files) = reading.finish();
    if mistakes.iter().any(|mistake| mistake.severity == Severity::Error) {
        return Err(mistakes);
    }
    Ok(Loaded {
        settings,
        warnings: mistakes,
        files,
    })
}

fn whole_file(path: &Path, message: String, remedy: &str) -> Mistake {
    Mistake {
        file: path.to_path_buf(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        message,
        remedy: remedy.to_owned(),
    }
}

fn remedy_for_syntax(message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    let is = |word: &str| message.contains(word);
    if is("string") || is("quote") {
        "text stands between two double quotes on one line"
    } else if is("array") {
        "a list stands in square brackets, its elements separated by commas"
    } else if is("inline table") {
        "a table on one line is written { name = \"value\", other = 1 }"
    } else if is("table") {
        "a table begins with [name], an entry of a list of tables with [[name]], on a line of its own"
    } else {
        "write key = value, one on each line, text in double quotes"
    }
}

/// Thousands of sites fit in it.
const LARGEST_FILE: u64 = 1 << 20;
