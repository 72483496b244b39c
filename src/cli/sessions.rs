//! `menshen sessions`: who is signed in where, and ending it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::operator::{self, Listed, Operator, OperatorError, at_store, moment};
use crate::cli::{WRONG_USAGE, complain};
use crate::config::Loaded;
use crate::login::device::Device;
use crate::store::{SessionFilter, SessionRow, StoreError, public_session_id};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// What `menshen sessions` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List sessions that can still be used, newest first
    List {
        /// Only those of this person: username, phone number or id
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Only what comes after this session, the last of the page before
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        after: Option<String>,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End sessions: these, all of a person, or all
    Revoke {
        #[command(flatten)]
        which: Which,
        /// Do it, where everybody is signed out
        #[arg(long)]
        yes: bool,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
}

/// Which sessions to end.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Ids as `sessions list` shows them; the `sid` of assertions
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All of this person: username, phone number or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// All of everybody
    #[arg(long)]
    all: bool,
}

/// Why nothing, or not everything, was done.
#[derive(Debug, thiserror::Error)]
enum SessionsError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("no session has the id {0:?}: `menshen sessions list` shows them; nothing was ended")]
    Unknown(String),
    #[error("{source} ({ended} sessions were ended before: run it again for the rest)")]
    Halfway { source: StoreError, ended: u64 },
}

impl From<StoreError> for SessionsError {
    fn from(error: StoreError) -> Self {
        Self::Operator(error.into())
    }
}

/// A session as it is listed. Times are Unix seconds.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    connection: String,
    site: String,
    host: String,
    device: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
}

impl Listed for Line {
    const COLUMNS: &[&str] = &[
        "id",
        "user",
        "connection",
        "host",
        "device",
        "place",
        "signed in",
        "last used",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.user.clone().unwrap_or_else(|| self.user_id.clone()),
            self.connection.clone(),
            self.host.clone(),
            self.device.clone(),
            self.place.clone().unwrap_or_else(|| self.address.clone()),
            moment(self.created_at),
            moment(self.last_used_at),
        ]
    }
}

/// What a revocation came to.
#[derive(Debug, Serialize)]
struct Ended {
    ended: u64,
}

/// Does it; the exit code.
pub(super) fn run(verb: &Verb, path: &Path, out: &mut impl Write) -> u8 {
    if let Verb::Revoke { which, yes: false, .. } = verb
        && which.all
    {
        complain("this signs everybody out, on every device: add --yes to do it");
        return WRONG_USAGE;
    }
    let Some(Loaded { settings, .. }) = operator::configuration(path) else {
        return WRONG_USAGE;
    };
    let done = at_store(&settings, async |operator| match verb {
        Verb::List {
            user,
            limit,
            after,
            json,
        } => list(operator, user.as_deref(), *limit, after.as_deref(), *json, out).await,
        Verb::Revoke { which, json, .. } => {
            let ended = revoke(operator, which).await?;
            say(ended, *json, out).map_err(|error| SessionsError::Operator(error.into()))
        }
    });
    operator::ended(done)
}

async fn list(
    operator: &Operator<'_>,
    user: Option<&str>,
    limit: u32,
    after: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), SessionsError> {
    let user = match user {
        Some(name) => Some(operator.user(name).await?),
        None => None,
    };
    let after = match after {
        Some(id) => Some(session(operator, id).await?),
        None => None,
    };
    let now = operator.clock.now();
    let idle = i64::try_from(operator.settings.session.idle_timeout.as_secs()).unwrap_or(i64::MAX / 2);
    let filter = SessionFilter {
        user_id: user.as_ref().map(|user| &*user.id),
        now,
        used_after: now - idle,
        after: after.as_ref(),
        // One more than is shown: whether there is more.
        limit: limit + 1,
    };
    let mut rows = operator.store.list_sessions(&filter).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > shown;
    rows.truncate(shown);
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        lines.push(line(operator, row).await?);
    }
    operator::list(&lines, json, out).map_err(OperatorError::Output)?;
    if let Some(last) = lines.last().filter(|_| more) {
        complain(&format!("there are more: --after {}", last.id));
    }
    Ok(())
}

async fn line(operator: &Operator<'_>, row: SessionRow) -> Result<Line, SessionsError> {
    let user = operator.store.user(&row.user_id).await?;
    let device = serde_json::from_str::<Device>(&row.device).map(|device| device.text);
    Ok(Line {
        id: public_session_id(&row.id),
        user: user.and_then(|user| user.username.or(user.name)),
        user_id: row.user_id,
        connection: row.connection,
        site: row.site,
        host: row.host,
        device: device.unwrap_or_else(|_| "?".to_owned()),
        address: row.address,
        place: row.place,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        expires_at: row.expires_at,
    })
}

async fn session(operator: &Operator<'_>, id: &str) -> Result<SessionRow, SessionsError> {
    let found = operator.store.session_by_public_id(id).await?;
    found.ok_or_else(|| SessionsError::Unknown(id.to_owned()))
}

async fn revoke(operator: &Operator<'_>, which: &Which) -> Result<u64, SessionsError> {
    if which.all {
        return revoke_all(operator).await;
    }
    let now = operator.clock.now();
    if let Some(name) = &which.user {
        let user = operator.user(name).await?;
        let ended = operator.store.end_sessions_of(&user.id, REASON, now).await?;
        operator.record(&[of_user(user.id, now)]).await?;
        return Ok(ended);
    }
    let mut rows: Vec<SessionRow> = Vec::with_capacity(which.ids.len());
    for id in &which.ids {
        rows.push(session(operator, id).await?);
    }
    rows.retain(|row| row.ended_at.is_none());
    let ids: Vec<&str> = rows.iter().map(|row| &*row.id).collect();
    let ended = operator.store.end_sessions(&ids, REASON, now).await?;
    let events: Vec<AuditEvent> = rows
        .into_iter()
        .map(|row| AuditEvent {
            connection: Some(row.connection),
            browser_device: serde_json::from_str::<Device>(&row.device)
                .map(|device| device.text)
                .ok(),
            ..of_user(row.user_id, now)
        })
        .collect();
    operator.record(&events).await?;
    Ok(ended)
}

/// Person by person, so that no transaction holds up the gateway for long.
async fn revoke_all(operator: &Operator<'_>) -> Result<u64, SessionsError> {
    let now = operator.clock.now();
    let all = operator.store.count_sessions(now).await?;
    let progress = io::stderr().is_terminal();
    let mut after = String::new();
    let mut ended = 0;
    let halfway = |ended| move |source| SessionsError::Halfway { source, ended };
    loop {
        let users = operator
            .store
            .users_with_sessions(&after, now, PAGE)
            .await
            .map_err(halfway(ended))?;
        let Some(last) = users.last() else { break };
        after.clone_from(last);
        let mut events = Vec::with_capacity(users.len());
        for user in users {
            ended += operator
                .store
                .end_sessions_of(&user, REASON, now)
                .await
                .map_err(halfway(ended))?;
            events.push(of_user(user, now));
        }
        operator.record(&events).await?;
        if progress {
            let _ = write!(io::stderr(), "\r{ended} of {all} sessions ended");
        }
    }
    if progress && ended > 0 {
        let _ = writeln!(io::stderr());
    }
    Ok(ended)
}

fn of_user(user_id: String, now: i64) -> AuditEvent {
    AuditEvent {
        user_id: Some(user_id),
        reason: Some(REASON.to_owned()),
        ..AuditEvent::new(AuditKind::SessionRevoked, now)
    }
}

fn say(ended: u64, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        return operator::write_json(&Ended { ended }, out);
    }
    match ended {
        0 => writeln!(out, "no session was left to end"),
        1 => writeln!(out, "1 session ended"),
        _ => writeln!(out, "{ended} sessions ended"),
    }
}

const REASON: &str = "operator";
/// Users between two records of the audit.
const PAGE: u32 = 100;
