//! `menshen check`: says everything that is wrong with a configuration, and whether it can be used.
//!
//! The answer is the result, so it goes to standard output as a whole: one block for each mistake, then one line that
//! sums up. With `--json` the same as one object, for editors and pipelines.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::config::{Mistake, Severity, Surroundings, System, load_with};

/// The configuration can be used.
pub const VALID: u8 = 0;
/// The result could not be written.
pub const UNWRITTEN: u8 = 1;
/// The configuration cannot be used.
pub const INVALID: u8 = 2;

/// Checks the file at `path`, writes the result to `out` and returns the exit code: 0 for a valid file, with or
/// without warnings, 2 for an invalid one, 1 when `out` cannot be written.
pub fn run(path: &Path, json: bool, out: &mut dyn Write, colour: bool) -> u8 {
    run_with(path, &System, json, out, colour)
}

fn run_with(path: &Path, surroundings: &dyn Surroundings, json: bool, out: &mut dyn Write, colour: bool) -> u8 {
    let report = Report::of(path, surroundings);
    let written = if json {
        report.write_json(out)
    } else {
        report.write_text(out, colour)
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) if report.valid => VALID,
        Ok(()) => INVALID,
        Err(_) => UNWRITTEN,
    }
}

/// The result, in the shape of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    valid: bool,
    errors: usize,
    warnings: usize,
    /// Of a valid file.
    #[serde(skip_serializing_if = "Option::is_none")]
    sites: Option<usize>,
    /// Of a valid file.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<usize>,
    mistakes: Vec<Mistake>,
}

impl Report {
    fn of(path: &Path, surroundings: &dyn Surroundings) -> Self {
        let (mistakes, counts) = match load_with(path, surroundings) {
            Ok(loaded) => (
                loaded.warnings,
                Some((loaded.settings.sites.len(), loaded.settings.connections.len())),
            ),
            Err(mistakes) => (mistakes, None),
        };
        let errors = mistakes
            .iter()
            .filter(|mistake| mistake.severity == Severity::Error)
            .count();
        Self {
            file: path.display().to_string(),
            valid: counts.is_some(),
            errors,
            warnings: mistakes.len() - errors,
            sites: counts.map(|(sites, _)| sites),
            connections: counts.map(|(_, connections)| connections),
            mistakes,
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    fn write_text(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        for mistake in &self.mistakes {
            let text = mistake.to_string();
            let word = mistake.severity.to_string();
            if colour {
                let paint = if mistake.severity == Severity::Error {
                    RED
                } else {
                    YELLOW
                };
                writeln!(
                    out,
                    "{}",
                    text.replacen(&format!(": {word}: "), &format!(": {paint}{word}{PLAIN}: "), 1)
                )?;
            } else {
                writeln!(out, "{text}")?;
            }
        }
        match (self.sites, self.connections) {
            (Some(sites), Some(connections)) => {
                let warnings = if self.warnings == 0 {
                    String::new()
                } else {
                    format!(" ({})", count(self.warnings, "warning"))
                };
                writeln!(
                    out,
                    "{} is valid: {}, {}{warnings}",
                    self.file,
                    count(sites, "site"),
                    count(connections, "connection")
                )
            }
            _ => {
                let warnings = if self.warnings == 0 {
                    String::new()
                } else {
                    format!(", {}", count(self.warnings, "warning"))
                };
                writeln!(out, "{}: {}{warnings}", self.file, count(self.errors, "mistake"))
            }
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const PLAIN: &str = "\u{1b}[0m";
