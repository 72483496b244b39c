//! What the verbs share that work on the store of an installation: finding it, naming people, writing results.
//!
//! They work beside a running gateway, on the same store, and the gateway learns of it as it learns of other nodes.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::{DONE, FAILED, check, complain};
use crate::config::{Loaded, Settings, load};
use crate::store::{AuditRow, Store, StoreError, User};
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::clock::Clock;

/// An operator at the store.
#[derive(Debug)]
pub(super) struct Operator<'s> {
    pub(super) settings: &'s Settings,
    pub(super) store: Store,
    pub(super) clock: Clock,
}

/// Why a verb did not do what it was asked to. The text is what the operator reads.
#[derive(Debug, thiserror::Error)]
pub(super) enum OperatorError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "nobody in the directory has the username, phone number or id {0:?}: `menshen users list` shows who is there"
    )]
    NoUser(String),
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
    #[error("no runtime: {0}")]
    Runtime(io::Error),
}

/// One line of a listing: for people a row of the table, for programs its JSON.
pub(super) trait Listed: Serialize {
    /// Names of the columns.
    const COLUMNS: &[&str];

    /// A cell for each column.
    fn cells(&self) -> Vec<String>;
}

/// The configuration at `path`, or `None` after saying on standard error, in the words of `check`, what is wrong with it.
pub(super) fn configuration(path: &Path) -> Option<Loaded> {
    if let Ok(loaded) = load(path) {
        return Some(loaded);
    }
    let mut errors = io::stderr().lock();
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    check::run(path, false, &mut errors, colour);
    None
}

/// Opens the store, does `work` there and closes it.
///
/// # Errors
/// Those of `work`, and what keeps the store from being opened.
pub(super) fn at_store<T, E: From<OperatorError>>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Operator<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OperatorError::Runtime)?;
    runtime.block_on(async {
        let operator = Operator {
            settings,
            store: Store::open(&settings.store.url).await.map_err(OperatorError::Store)?,
            clock: Clock::default(),
        };
        let done = work(&operator).await;
        operator.store.close().await;
        done
    })
}

/// The exit code of a verb that is over; says on standard error why it did not do what it was asked to.
pub(super) fn ended<E: std::fmt::Display>(result: Result<(), E>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

impl Operator<'_> {
    /// Records what was done here, beside the records of the gateway.
    ///
    /// # Errors
    /// Those of the store; then nothing was recorded.
    pub(super) async fn record(&self, events: &[AuditEvent]) -> Result<(), OperatorError> {
        let rows: Vec<AuditRow> = events.iter().map(AuditRow::from).collect();
        Ok(self.store.insert_audit(&rows).await?)
    }

    /// The user with this id, username or phone number.
    ///
    /// # Errors
    /// [`OperatorError::NoUser`], and those of the store.
    pub(super) async fn user(&self, name: &str) -> Result<User, OperatorError> {
        let found = match self.store.user(name).await? {
            Some(user) => Some(user),
            None => match self.store.user_by_username(name).await? {
                Some(user) => Some(user),
                None => self.store.user_by_phone(name).await?,
            },
        };
        found.ok_or_else(|| OperatorError::NoUser(name.to_owned()))
    }
}

/// Writes a listing: a table, or with `json` an array.
pub(super) fn list<L: Listed>(rows: &[L], json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        return write_json(&rows, out);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(L::COLUMNS.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.cells().iter().map(|cell| printable(cell)));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim())?;
    }
    out.flush()
}

/// Writes one value for programs.
pub(super) fn write_json(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    out.flush()
}

/// Unix seconds as RFC 3339, for people.
pub(super) fn moment(at: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(at)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| at.to_string())
}

/// Names and devices come from outside; what would steer a terminal is written as an escape (CWE-150).
pub(super) fn printable(text: &str) -> String {
    let steers = |character: char| {
        character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, character| {
            if steers(character) {
                out.extend(character.escape_default());
            } else {
                out.push(character);
            }
            out
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(Serialize)]
    struct Person {
        name: &'static str,
        groups: u32,
    }

    impl Listed for Person {
        const COLUMNS: &[&str] = &["name", "groups"];

        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.groups.to_string()]
        }
    }

    #[test]
    fn columns_are_aligned_and_nothing_steers_the_terminal() {
        let rows = [
            Person {
                name: "王小明",
                groups: 1,
            },
            Person {
                name: "\u{1b}[2Jx\u{202e}",
                groups: 20,
            },
        ];
        let mut out = Vec::new();
        list(&rows, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("NAME") && lines[0].ends_with("GROUPS"), "{text}");
        assert!(lines[1].starts_with("王小明 ") && lines[1].ends_with(" 1"), "{text}");
        assert!(lines[2].starts_with("\\u{1b}[2Jx\\u{202e} "), "{text}");
    }

    #[test]
    fn programs_get_an_array() {
        let mut out = Vec::new();
        list::<Person>(&[], true, &mut out).unwrap();
        assert_eq!(out, b"[]\n");
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339() {
        assert_eq!(moment(1_790_000_000), "2026-09-21T14:13:20Z");
    }
}
