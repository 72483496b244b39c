//! `users import`.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::{UsersError, directory};
use crate::accounts::import::table::{self, Table};
use crate::accounts::import::{BadLine, Outcome, Progress};
use crate::cli::complain;
use crate::cli::operator::{Operator, printable, progress, write_json};

/// Reads the file, before the store is opened.
pub(super) fn read(path: &Path) -> Result<Table, UsersError> {
    let failed = |error: io::Error| UsersError::File(format!("{} cannot be read: {error}", path.display()));
    let text = std::fs::read(path).map_err(failed)?;
    let table = table::read(&text, |lines| progress(&format!("{lines} lines read")));
    progress("");
    Ok(table)
}

pub(super) async fn import(
    operator: &Operator<'_>,
    table: Table,
    dry_run: bool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), UsersError> {
    let Table { lines, mut bad_lines } = table;
    // With bad lines the rest is only looked at, so that all mistakes are told at once.
    let only_look = dry_run || !bad_lines.is_empty();
    let now = operator.clock.now();
    let result = directory(operator)
        .import(&lines, only_look, now, &mut |at| progress(&said(at)))
        .await;
    progress("");
    let mut outcome = result?;
    bad_lines.append(&mut outcome.bad_lines);
    bad_lines.sort();
    let outcome = Outcome { bad_lines, ..outcome };
    report(&outcome, dry_run, json, out)?;
    if outcome.bad_lines.is_empty() {
        Ok(())
    } else {
        Err(UsersError::Said)
    }
}

fn report(outcome: &Outcome, dry_run: bool, json: bool, out: &mut impl Write) -> Result<(), UsersError> {
    let bad = outcome.bad_lines.len();
    if json {
        let imported = bad == 0 && !dry_run;
        let shown = json!({
            "imported": imported,
            "dry_run": dry_run,
            "created": outcome.created,
            "updated": outcome.updated,
            "unchanged": outcome.unchanged,
            "bad_lines": outcome.bad_lines,
        });
        return Ok(write_json(&shown, out)?);
    }
    let mut errors = io::stderr().lock();
    for line in &outcome.bad_lines {
        // Nobody is left to tell when this fails.
        let _ = writeln!(errors, "{}", printable(&written(line)));
    }
    drop(errors);
    if bad > 0 {
        complain(&format!("bad lines: {bad}. Nothing was imported"));
        return Ok(());
    }
    let verbs = if dry_run {
        ["would create", "would update"]
    } else {
        ["created", "updated"]
    };
    writeln!(
        out,
        "{} {}, {} {}, unchanged {}",
        verbs[0], outcome.created, verbs[1], outcome.updated, outcome.unchanged
    )?;
    Ok(out.flush()?)
}

fn written(bad: &BadLine) -> String {
    match &bad.column {
        Some(column) => format!("line {}, {column}: {}", bad.line, bad.problem),
        None => format!("line {}: {}", bad.line, bad.problem),
    }
}

fn said(at: Progress) -> String {
    match at {
        Progress::Looking(done, all) => format!("looked up {done} of {all} names and numbers"),
        Progress::Writing(done, all) => format!("wrote {done} of {all} users"),
    }
}
