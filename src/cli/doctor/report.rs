//! What was found, for people and for programs.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::cli::operator::printable;
use crate::cli::{DONE, FAILED};

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
    /// Nobody knows: it cannot be found out from here, or something else failed before.
    Unchecked,
}

/// What part of the installation something belongs to, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Configuration,
    Store,
    Keys,
    Nodes,
    Clocks,
    Wechat,
    Portal,
    Upstreams,
    Certificates,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) group: Group,
    /// Which question; the same in every run.
    pub(super) check: &'static str,
    /// About whom or what.
    pub(super) subject: String,
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

/// All of it, in the shape of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: String,
    /// Nothing failed.
    healthy: bool,
    ok: usize,
    warnings: usize,
    failures: usize,
    unchecked: usize,
    checks: Vec<Finding>,
}

impl Finding {
    pub(super) fn ok(group: Group, check: &'static str, subject: impl Display, message: impl Into<String>) -> Self {
        Self::new(group, check, subject, Verdict::Ok, message, None)
    }

    pub(super) fn warn(
        group: Group,
        check: &'static str,
        subject: impl Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(group, check, subject, Verdict::Warn, message, Some(remedy.into()))
    }

    pub(super) fn fail(
        group: Group,
        check: &'static str,
        subject: impl Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(group, check, subject, Verdict::Fail, message, Some(remedy.into()))
    }

    /// `message` says what is not known, and why.
    pub(super) fn unchecked(
        group: Group,
        check: &'static str,
        subject: impl Display,
        message: impl Into<String>,
    ) -> Self {
        Self::new(group, check, subject, Verdict::Unchecked, message, None)
    }

    fn new(
        group: Group,
        check: &'static str,
        subject: impl Display,
        verdict: Verdict,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            group,
            check,
            subject: subject.to_string(),
            verdict,
            message: message.into(),
            remedy,
        }
    }

    #[cfg(test)]
    pub(super) fn failed(&self) -> bool {
        self.verdict == Verdict::Fail
    }
}

impl Report {
    pub(super) fn new(file: &Path, mut checks: Vec<Finding>) -> Self {
        checks.sort_by_key(|finding| finding.group);
        let count = |verdict| checks.iter().filter(|finding| finding.verdict == verdict).count();
        let failures = count(Verdict::Fail);
        Self {
            file: file.display().to_string(),
            healthy: failures == 0,
            ok: count(Verdict::Ok),
            warnings: count(Verdict::Warn),
            failures,
            unchecked: count(Verdict::Unchecked),
            checks,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        if self.healthy { DONE } else { FAILED }
    }

    pub(super) fn write_text(&self, out: &mut impl Write, colour: bool) -> io::Result<()> {
        let mut group = None;
        for finding in &self.checks {
            if finding.verdict == Verdict::Unchecked {
                continue;
            }
            if group != Some(finding.group) {
                writeln!(out, "{}", finding.group.title())?;
                group = Some(finding.group);
            }
            finding.write_text(out, colour)?;
        }
        if self.unchecked > 0 {
            writeln!(out, "Not checked")?;
            for finding in self
                .checks
                .iter()
                .filter(|finding| finding.verdict == Verdict::Unchecked)
            {
                finding.write_text(out, colour)?;
            }
        }
        writeln!(
            out,
            "{}: {} ok, {}, {}, {} not checked",
            self.file,
            self.ok,
            number(self.warnings, "warning"),
            number(self.failures, "failure"),
            self.unchecked
        )?;
        out.flush()
    }
}

impl Finding {
    fn write_text(&self, out: &mut impl Write, colour: bool) -> io::Result<()> {
        let (word, paint) = match self.verdict {
            Verdict::Ok => ("ok  ", GREEN),
            Verdict::Warn => ("warn", YELLOW),
            Verdict::Fail => ("FAIL", RED),
            Verdict::Unchecked => ("-   ", PLAIN),
        };
        let (paint, plain) = if colour { (paint, PLAIN) } else { ("", "") };
        let (subject, message) = (printable(&self.subject), printable(&self.message));
        writeln!(out, "  {paint}{word}{plain}  {subject}: {message}")?;
        if let Some(remedy) = &self.remedy {
            writeln!(out, "        → {}", printable(remedy))?;
        }
        Ok(())
    }
}

impl Group {
    fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Store => "Store",
            Self::Keys => "Keys",
            Self::Nodes => "Nodes",
            Self::Clocks => "Clocks",
            Self::Wechat => "WeChat",
            Self::Portal => "Public names",
            Self::Upstreams => "Upstreams",
            Self::Certificates => "Certificates",
        }
    }
}

fn number(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[1;33m";
const RED: &str = "\u{1b}[1;31m";
const PLAIN: &str = "\u{1b}[0m";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn text(findings: Vec<Finding>, colour: bool) -> String {
        let mut out = Vec::new();
        let report = Report::new(Path::new("m.toml"), findings);
        report.write_text(&mut out, colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn findings_stand_by_part_and_what_is_not_known_stands_apart() {
        let findings = vec![
            Finding::fail(
                Group::Portal,
                "reachable",
                "a.test",
                "nobody answers\u{1b}[2J",
                "Start it.",
            ),
            Finding::unchecked(Group::Portal, "reachable", "*.test", "a wildcard has no name to ask"),
            Finding::ok(Group::Store, "open", "SQLite", "well"),
            Finding::warn(Group::Portal, "certificate", "a.test", "ends soon", "Renew it."),
        ];
        let expected = "Store\n  ok    SQLite: well\nPublic names\n  FAIL  a.test: nobody answers\\u{1b}[2J\n        \
                        → Start it.\n  warn  a.test: ends soon\n        → Renew it.\nNot checked\n  -     *.test: a \
                        wildcard has no name to ask\nm.toml: 1 ok, 1 warning, 1 failure, 1 not checked\n";
        assert_eq!(text(findings.clone(), false), expected);
        let painted = text(findings, true);
        assert!(painted.contains("\u{1b}[1;31mFAIL\u{1b}[0m  a.test"), "{painted}");
    }

    #[test]
    fn only_a_failure_fails() {
        let code = |findings| Report::new(Path::new("m.toml"), findings).exit_code();
        let warning = Finding::warn(Group::Keys, "wrapped", "keys", "in the clear", "Wrap them.");
        assert_eq!(code(vec![warning.clone()]), DONE);
        let failure = Finding::fail(Group::Keys, "open", "keys", "damaged", "Restore.");
        assert_eq!(code(vec![warning, failure]), FAILED);
    }
}
