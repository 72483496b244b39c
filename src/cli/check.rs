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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;

    struct Machine(BTreeMap<PathBuf, String>);

    impl Surroundings for Machine {
        fn variable(&self, _name: &str) -> Option<String> {
            None
        }

        fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
            self.0
                .get(path)
                .map(|text| text.clone().into_bytes())
                .ok_or(io::ErrorKind::NotFound.into())
        }

        fn world_readable(&self, _path: &Path) -> bool {
            false
        }

        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    fn check(source: &str, json: bool, colour: bool) -> (u8, String) {
        let machine = Machine(BTreeMap::from([(PathBuf::from("m.toml"), source.to_owned())]));
        let mut out = Vec::new();
        let code = run_with(Path::new("m.toml"), &machine, json, &mut out, colour);
        (code, String::from_utf8(out).unwrap())
    }

    const VALID_FILE: &str = r#"
[server]
public_url = "http://127.0.0.1:8080"
secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
[[connections]]
id = "staff"
kind = "miniprogram-qr"
app_id = "wx0123456789abcdef"
app_secret = "0123456789abcdef0123456789abcdef"
[[sites]]
hosts = ["wiki.example.com"]
upstreams = ["http://10.0.0.5:8080"]
[[sites]]
hosts = ["docs.example.com"]
upstreams = ["http://10.0.0.6:8080"]
"#;

    #[test]
    fn a_valid_file_is_counted_and_ends_with_0() {
        let expected = (VALID, "m.toml is valid: 2 sites, 1 connection\n".to_owned());
        assert_eq!(check(VALID_FILE, false, false), expected);
    }

    #[test]
    fn warnings_alone_end_with_0() {
        let (code, text) = check(&format!("{VALID_FILE}[login]\nnumber_matching = false\n"), false, false);
        assert_eq!(code, VALID);
        assert!(
            text.starts_with("m.toml:17:19: warning: without number matching"),
            "{text}"
        );
        assert!(
            text.ends_with("m.toml is valid: 2 sites, 1 connection (1 warning)\n"),
            "{text}"
        );
    }

    #[test]
    fn mistakes_end_with_2_and_are_counted() {
        let (code, text) = check(&format!("{VALID_FILE}[login]\nanswer = \"pge\"\nx = 1\n"), false, false);
        assert_eq!(code, INVALID);
        assert!(
            text.contains("m.toml:17:10: error: `pge` is not known here\n    → did you mean \"page\"?\n"),
            "{text}"
        );
        assert!(text.ends_with("m.toml: 2 mistakes\n"), "{text}");
        assert!(check("", false, false).1.ends_with("m.toml: 3 mistakes\n"));
    }

    #[test]
    fn colour_paints_the_severity_alone() {
        let (_, text) = check(&format!("{VALID_FILE}[login]\nanswer = \"pge\"\n"), false, true);
        assert!(
            text.contains("m.toml:17:10: \u{1b}[1;31merror\u{1b}[0m: `pge`"),
            "{text}"
        );
    }

    #[test]
    fn json_is_one_object_with_every_mistake() {
        let (code, text) = check(&format!("{VALID_FILE}[login]\nanswer = \"pge\"\n"), true, true);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(code, INVALID);
        let mistake = serde_json::json!({
            "file": "m.toml",
            "line": 17,
            "column": 10,
            "severity": "error",
            "message": "`pge` is not known here",
            "remedy": "did you mean \"page\"?",
        });
        let expected =
            serde_json::json!({"file": "m.toml", "valid": false, "errors": 1, "warnings": 0, "mistakes": [mistake]});
        assert_eq!(report, expected);
        let report: serde_json::Value = serde_json::from_str(&check(VALID_FILE, true, false).1).unwrap();
        assert_eq!(
            (&report["valid"], &report["sites"], &report["connections"]),
            (&true.into(), &2.into(), &1.into())
        );
    }

    #[test]
    fn a_result_that_cannot_be_written_ends_with_1() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let machine = Machine(BTreeMap::new());
        assert_eq!(
            run_with(Path::new("m.toml"), &machine, false, &mut Full, false),
            UNWRITTEN
        );
    }
}
