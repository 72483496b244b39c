//! `menshen audit`: what people and operators did.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tokio::time::sleep;

use crate::accounts::looks_like_user_id;
use crate::cli::operator::{Operator, OperatorError, at_store, configuration, ended};
use crate::cli::{DONE, Signals, WRONG_USAGE};
use crate::store::{AuditFilter, AuditOrder, AuditRow, StoreError};
use crate::telemetry::audit::AuditKind;

mod moment;
mod view;

pub(super) use view::EventView;

/// What is asked of the audit.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the last events
    Tail {
        /// So many
        #[arg(short = 'n', long = "lines", default_value_t = 20, value_name = "NUMBER")]
        lines: usize,
        /// Go on with what happens, until Ctrl-C
        #[arg(long, short = 'f')]
        follow: bool,
        #[command(flatten)]
        filter: Filter,
        /// Print JSON, one object on each line
        #[arg(long)]
        json: bool,
    },
    /// Write events, oldest first
    Export {
        /// jsonl is one JSON object on each line
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Jsonl,
    Csv,
}

/// Which events. What is given must fit.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// About this user: username, phone number or id; of a deleted user the id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Of this kind
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<AuditKind>,
    /// By this connection
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Of this request
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// From this moment on: 2026-09-21T14:00:00+08:00, 2026-09-21 (UTC), or 2h ago
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    since: Option<moment::Moment>,
    /// Before this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment::parse)]
    until: Option<moment::Moment>,
}

/// Does what is asked; the exit code.
pub(super) fn run(verb: &Verb, path: &Path, out: &mut impl Write) -> u8 {
    let Some(loaded) = configuration(path) else {
        return WRONG_USAGE;
    };
    let result = at_store(&loaded.settings, async |operator| match verb {
        Verb::Tail {
            lines,
            follow,
            filter,
            json,
        } => tail(operator, filter, *lines, *follow, *json, out).await,
        Verb::Export { format, filter } => export(operator, filter, *format, out).await,
    });
    match result {
        // Whoever reads only the beginning has what they want.
        Err(OperatorError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        result => ended(result),
    }
}

async fn tail(
    operator: &Operator<'_>,
    filter: &Filter,
    lines: usize,
    follow: bool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), OperatorError> {
    let filter = filter.resolve(operator).await?;
    // Before looking back: what is recorded meanwhile is shown twice rather than never, and then not twice either.
    let mut seen = operator.store.last_audit().await?;
    let (mut rows, mut after) = (Vec::new(), None);
    while rows.len() < lines {
        let page = operator
            .store
            .audit_page(&filter, AuditOrder::NewestFirst, after)
            .await?;
        rows.extend(page.rows.into_iter().filter(|row| row.seq <= seen));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    rows.truncate(lines);
    rows.reverse();
    write(rows, json, out)?;
    if !follow {
        return Ok(());
    }
    let mut signals = Signals::listen()?;
    loop {
        let rows = tokio::select! {
            () = signals.stop() => return Ok(()),
            rows = next_events(operator, seen) => rows?,
        };
        seen = rows.last().map_or(seen, |row| row.seq);
        let fitting = rows.into_iter().filter(|row| filter.fits(row)).collect();
        write(fitting, json, out)?;
    }
}

/// Waits for events after number `seq`. A store that is away for a moment is asked again.
async fn next_events(operator: &Operator<'_>, seq: i64) -> Result<Vec<AuditRow>, StoreError> {
    let mut failures = 0;
    loop {
        match operator.store.audit_after(seq, FOLLOWED_AT_ONCE).await {
            Ok(rows) if !rows.is_empty() => return Ok(rows),
            Ok(_) => failures = 0,
            Err(error) if failures >= FAILURES => return Err(error),
            Err(_) => failures += 1,
        }
        sleep(POLL).await;
    }
}

fn write(rows: Vec<AuditRow>, json: bool, out: &mut impl Write) -> io::Result<()> {
    for row in rows {
        let event = EventView::from(row);
        if json {
            event.write_json(out)?;
        } else {
            event.write_line(out)?;
        }
    }
    out.flush()
}

async fn export(
    operator: &Operator<'_>,
    filter: &Filter,
    format: Format,
    out: &mut impl Write,
) -> Result<(), OperatorError> {
    let filter = filter.resolve(operator).await?;
    if format == Format::Csv {
        view::write_record(&view::COLUMNS.map(str::to_owned), out)?;
    }
    let mut after = None;
    loop {
        let page = operator
            .store
            .audit_page(&filter, AuditOrder::OldestFirst, after)
            .await?;
        for row in page.rows {
            let event = EventView::from(row);
            match format {
                Format::Jsonl => event.write_json(out)?,
                Format::Csv => view::write_record(&event.cells(), out)?,
            }
        }
        out.flush()?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

impl Filter {
    async fn resolve(&self, operator: &Operator<'_>) -> Result<AuditFilter, OperatorError> {
        let now = operator.clock.now();
        let user_id = match &self.user {
            None => None,
            // Who is deleted has nothing left but the id.
            Some(name) if looks_like_user_id(name) => Some(name.clone()),
            Some(name) => Some(operator.user(name).await?.id),
        };
        Ok(AuditFilter {
            user_id,
            kind: self.kind.map(|kind| kind.as_str().to_owned()),
            connection: self.connection.clone(),
            request_id: self.request_id.clone(),
            since: self.since.map(|moment| moment.at(now)),
            until: self.until.map(|moment| moment.at(now)),
        })
    }
}

fn kind(text: &str) -> Result<AuditKind, String> {
    AuditKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            let known = AuditKind::ALL.map(AuditKind::as_str).join(", ");
            format!("the kinds of events are {known}")
        })
}

/// How often a follower asks; one short statement each time.
const POLL: Duration = Duration::from_millis(500);

const FOLLOWED_AT_ONCE: u32 = 1000;

/// Failures in a row that a follower survives: a restart of the database, not its end.
const FAILURES: u32 = 20;
