//! What the verbs share that work on the store of an installation: finding it, naming people, writing results.
//!
//! They work beside a running gateway, on the same store, and the gateway learns of it as it learns of other nodes.

use std::io::{self, BufRead, IsTerminal, Write};
use std::marker::PhantomData;
use std::path::Path;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use crate::accounts::Phone;
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
    #[error("{name:?} is the username of {named} and the phone number of {called}: use one of these ids")]
    Ambiguous {
        name: String,
        named: String,
        called: String,
    },
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

    /// The user with this id, username or phone number. A number may be written as people write it.
    ///
    /// # Errors
    /// [`OperatorError::NoUser`], [`OperatorError::Ambiguous`], and those of the store.
    pub(super) async fn user(&self, name: &str) -> Result<User, OperatorError> {
        if let Some(user) = self.store.user(name).await? {
            return Ok(user);
        }
        let named = self.store.user_by_username(name).await?;
        let called = match Phone::parse(name).or_else(|_| Phone::normalise(name)) {
            Ok(phone) => self.store.user_by_phone(phone.as_str()).await?,
            Err(_) => None,
        };
        match (named, called) {
            (Some(named), Some(called)) if named.id != called.id => Err(OperatorError::Ambiguous {
                name: name.to_owned(),
                named: named.id,
                called: called.id,
            }),
            (named, called) => named.or(called).ok_or_else(|| OperatorError::NoUser(name.to_owned())),
        }
    }
}

/// Writes a listing that is short: a table, or with `json` an array.
#[allow(dead_code)] // Every other listing of this version is long.
pub(super) fn list<L: Listed>(rows: &[L], json: bool, out: &mut impl Write) -> io::Result<()> {
    let mut listing = Listing::new(json, out);
    listing.add(rows)?;
    listing.end()
}

/// A listing that is written piece by piece, however long it is.
pub(super) struct Listing<'o, L, W> {
    json: bool,
    out: &'o mut W,
    /// Something has been written.
    begun: bool,
    /// Columns stay at least as wide as they were.
    widths: Vec<u16>,
    of: PhantomData<fn(L)>,
}

impl<'o, L: Listed, W: Write> Listing<'o, L, W> {
    pub(super) fn new(json: bool, out: &'o mut W) -> Self {
        Self {
            json,
            out,
            begun: false,
            widths: vec![0; L::COLUMNS.len()],
            of: PhantomData,
        }
    }

    /// Writes further rows.
    pub(super) fn add(&mut self, rows: &[L]) -> io::Result<()> {
        if self.json {
            for row in rows {
                self.out.write_all(if self.begun { b",\n" } else { b"[\n" })?;
                self.begun = true;
                serde_json::to_writer_pretty(&mut *self.out, row)?;
            }
        } else if !rows.is_empty() || !self.begun {
            self.write_table(rows)?;
        }
        self.out.flush()
    }

    /// Writes what belongs behind the last row.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.json {
            self.out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?;
        } else if !self.begun {
            self.write_table(&[])?;
        }
        self.out.flush()
    }

    fn write_table(&mut self, rows: &[L]) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if !self.begun {
            table.set_header(L::COLUMNS.iter().map(|name| name.to_uppercase()));
        }
        for row in rows {
            table.add_row(row.cells().iter().map(|cell| printable(cell)));
        }
        for (column, width) in table.column_iter_mut().zip(&self.widths) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
        }
        for (width, needed) in self.widths.iter_mut().zip(table.column_max_content_widths()) {
            // Padding is part of the boundary.
            *width = (*width).max(needed.saturating_add(2));
        }
        self.begun = true;
        for line in table.lines() {
            writeln!(self.out, "{}", line.trim())?;
        }
        Ok(())
    }
}

/// Asks at the terminal; no without one. Anything but `y` and `yes` is no.
pub(super) fn agreed(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A word about the progress, over the one before; only where somebody watches.
pub(super) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        // Nobody is left to tell when this fails.
        let _ = write!(io::stderr(), "\r\u{1b}[2K{text}");
        let _ = io::stderr().flush();
    }
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
    fn what_is_written_in_pieces_is_one_listing() {
        let person = |name| Person { name, groups: 7 };
        let mut out = Vec::new();
        let mut listing = Listing::new(false, &mut out);
        listing.add(&[person("a long name")]).unwrap();
        listing.add(&[person("b")]).unwrap();
        listing.add(&[]).unwrap();
        listing.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1].find('7'), lines[2].find('7'), "{text}");

        let mut out = Vec::new();
        let mut listing = Listing::new(true, &mut out);
        listing.add(&[person("a")]).unwrap();
        listing.add(&[person("b"), person("c")]).unwrap();
        listing.end().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value[2]["name"], "c");
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
