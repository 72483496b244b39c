//! `menshen tokens`: bearer tokens that an operator hands out.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::accounts::fields::{self, FieldProblem};
use crate::accounts::{AdministrationError, Directory};
use crate::cli::operator::{self, Listed, Operator, OperatorError, at_store, moment, printable};
use crate::cli::{WRONG_USAGE, complain};
use crate::config::settings::{HostPattern, Settings};
use crate::config::{Loaded, duration};
use crate::session::bearer::{NoToken, TokenHash, new_token, new_token_id};
use crate::store::{NewUser, OwnedToken, RevokedToken, StoreError, TokenKind, TokenRow, User};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// What `menshen tokens` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a token and print it, this once
    Create(Create),
    /// List tokens, also those that have ended lately
    List {
        /// Only those of this account: username, phone number or id
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End a token everywhere, within a second
    Revoke {
        /// As `tokens list` shows it: t_…
        id: String,
    },
}

/// A token to be made.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    whose: Whose,
    /// For this site only: its audience, name, or one of its hosts; may be repeated [default: every site]
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// When it ends: 12h, 90d, or never
    #[arg(long, default_value = "90d", value_name = "TIME", value_parser = expiry)]
    expires: Expiry,
    /// What it is for, in the listing
    #[arg(long, value_name = "TEXT", value_parser = label)]
    label: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Whose token it will be.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// A person: username, phone number or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A program's account; made if nobody has this username
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

/// How long a token lives; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expiry(Option<Duration>);

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum TokensError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("{0:?} is disabled: `menshen users enable` first, or make the token for another account")]
    Disabled(String),
    #[error("{0:?} is a person: write --user for a token of theirs, or choose another name for the program's account")]
    Person(String),
    #[error("{0:?} cannot be a username: {1}")]
    Name(String, FieldProblem),
    #[error(transparent)]
    Account(#[from] AdministrationError),
    #[error("no token has the id {0:?}: `menshen tokens list` shows them")]
    Unknown(String),
    #[error(transparent)]
    Random(#[from] NoToken),
}

impl From<StoreError> for TokensError {
    fn from(error: StoreError) -> Self {
        Self::Operator(error.into())
    }
}

impl From<io::Error> for TokensError {
    fn from(error: io::Error) -> Self {
        Self::Operator(error.into())
    }
}

/// A new token as it is printed. Times are Unix seconds; without `sites` it is for every site.
#[derive(Debug, Serialize)]
struct Created<'a> {
    id: &'a str,
    token: &'a str,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    service: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sites: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// A token as it is listed.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    service: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sites: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    status: &'static str,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
}

/// Does it; the exit code.
pub(super) fn run(verb: &Verb, path: &Path, out: &mut impl Write) -> u8 {
    let Some(Loaded { settings, .. }) = operator::configuration(path) else {
        return WRONG_USAGE;
    };
    match verb {
        Verb::Create(create) => {
            let sites = match audiences(&settings, &create.sites) {
                Ok(sites) => sites,
                Err(mistake) => {
                    complain(&mistake);
                    return WRONG_USAGE;
                }
            };
            operator::ended(at_store(&settings, async |operator| {
                make(operator, create, sites, out).await
            }))
        }
        Verb::List { user, json } => operator::ended(at_store(&settings, async |operator| {
            list(operator, user.as_deref(), *json, out).await
        })),
        Verb::Revoke { id } => operator::ended(at_store(&settings, async |operator| revoke(operator, id, out).await)),
    }
}

async fn make(
    operator: &Operator<'_>,
    create: &Create,
    sites: Option<Vec<String>>,
    out: &mut impl Write,
) -> Result<(), TokensError> {
    let now = operator.clock.now();
    let owner = match (&create.whose.user, &create.whose.service) {
        (Some(name), _) => operator.user(name).await?,
        (None, Some(name)) => service_account(operator, name, now).await?,
        // The command line asks for one of them.
        (None, None) => return Err(OperatorError::NoUser(String::new()).into()),
    };
    let shown = || owner.username.clone().unwrap_or_else(|| owner.id.clone());
    let service = owner.service;
    let token = new_token()?;
    let Expiry(life) = create.expires;
    let row = TokenRow {
        id: new_token_id()?,
        kind: TokenKind::Api,
        hash: TokenHash::of_new(&token).as_bytes().to_vec(),
        user_id: owner.id.clone(),
        label: create.label.clone(),
        sites,
        connection: None,
        session_id: None,
        auth_time: now,
        created_at: now,
        expires_at: life.map(|life| now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX))),
        last_used_at: None,
        used_at: None,
        revoked_at: None,
    };
    if !operator.store.issue_token(&row).await? {
        return Err(TokensError::Disabled(shown()));
    }
    record(operator, AuditKind::TokenIssued, Some(&owner.id), &row.id, now).await;
    if create.json {
        let created = Created {
            id: &row.id,
            token: token.expose_secret(),
            user_id: &owner.id,
            user: owner.username.as_deref(),
            service,
            sites: row.sites.as_deref(),
            label: row.label.as_deref(),
            created_at: now,
            expires_at: row.expires_at,
        };
        operator::write_json(&created, out)?;
        return Ok(());
    }
    writeln!(out, "{}", token.expose_secret())?;
    out.flush()?;
    let sites = row
        .sites
        .as_ref()
        .map_or_else(|| "every site".to_owned(), |sites| sites.join(", "));
    let ends = row
        .expires_at
        .map_or_else(|| "never ends".to_owned(), |end| format!("ends {}", moment(end)));
    complain(&format!(
        "token {} of {} for {}; {ends}. It is shown this once.",
        row.id,
        printable(&shown()),
        printable(&sites)
    ));
    Ok(())
}

/// The program's account with this username; made if there is none.
async fn service_account(operator: &Operator<'_>, name: &str, now: i64) -> Result<User, TokensError> {
    if let Some(user) = operator.store.user_by_username(name).await? {
        return if user.service {
            Ok(user)
        } else {
            Err(TokensError::Person(name.to_owned()))
        };
    }
    let username = fields::username(name).map_err(|problem| TokensError::Name(name.to_owned(), problem))?;
    let new = NewUser {
        username: Some(username),
        service: true,
        created_at: now,
        ..NewUser::default()
    };
    let made = Directory::new(operator.store.clone()).create(new).await?;
    complain(&format!("made the service account {} ({})", printable(name), made.id));
    Ok(made)
}

async fn list(
    operator: &Operator<'_>,
    user: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), TokensError> {
    let user = match user {
        Some(name) => Some(operator.user(name).await?),
        None => None,
    };
    let now = operator.clock.now();
    let tokens = operator.store.api_tokens(user.as_ref().map(|user| &*user.id)).await?;
    let of = |owned| Line::of(owned, operator.settings, now);
    let lines: Vec<Line> = tokens.into_iter().map(of).collect();
    Ok(operator::list(&lines, json, out)?)
}

async fn revoke(operator: &Operator<'_>, id: &str, out: &mut impl Write) -> Result<(), TokensError> {
    let now = operator.clock.now();
    match operator.store.revoke_token(id, "operator", now).await? {
        RevokedToken::Now => {
            let owner = operator.store.token_owner(id).await?;
            record(operator, AuditKind::TokenRevoked, owner.as_deref(), id, now).await;
            writeln!(out, "{id} revoked")?;
        }
        RevokedToken::Before => writeln!(out, "{id} had been revoked before")?,
        RevokedToken::Unknown => return Err(TokensError::Unknown(id.to_owned())),
    }
    Ok(out.flush()?)
}

/// What was done stays done when it cannot be recorded, and the operator is told so.
async fn record(operator: &Operator<'_>, kind: AuditKind, user: Option<&str>, what: &str, now: i64) {
    let event = AuditEvent {
        user_id: user.map(str::to_owned),
        reason: Some(what.to_owned()),
        ..AuditEvent::new(kind, now)
    };
    if let Err(error) = operator.record(&[event]).await {
        complain(&format!("done, but the audit has no record of it: {error}"));
    }
}

/// The audiences of these sites; `None`, for every site, when none is named.
fn audiences(settings: &Settings, named: &[String]) -> Result<Option<Vec<String>>, String> {
    let mut audiences: Vec<String> = Vec::new();
    for name in named {
        let site = settings.sites.iter().find(|site| {
            let written = |host: &HostPattern| matches!(host, HostPattern::Exact(host) if host == name);
            site.audience == *name || site.name == *name || site.hosts.iter().any(written)
        });
        let Some(site) = site else {
            let known: Vec<&str> = settings.sites.iter().map(|site| &*site.audience).collect();
            return Err(format!("no site is called {name:?}: write one of {}", known.join(", ")));
        };
        if !audiences.contains(&site.audience) {
            audiences.push(site.audience.clone());
        }
    }
    Ok((!named.is_empty()).then_some(audiences))
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    let life = duration(text).map_err(|fault| format!("{fault}, or never"))?;
    if (SHORTEST_LIFE..=LONGEST_LIFE).contains(&life) {
        Ok(Expiry(Some(life)))
    } else {
        Err("write a time between 1m and 3650d, or never".to_owned())
    }
}

fn label(text: &str) -> Result<String, &'static str> {
    match text.chars().count() {
        0 => Err("leave the label out, or write one"),
        1..=LONGEST_NAME => Ok(text.to_owned()),
        _ => Err("write at most 128 characters"),
    }
}

impl Line {
    fn of(
        OwnedToken {
            token,
            username,
            service,
        }: OwnedToken,
        settings: &Settings,
        now: i64,
    ) -> Self {
        let configured = |audience: &String| settings.sites.iter().any(|site| site.audience == *audience);
        Self {
            status: match (token.revoked_at, token.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(end)) if end <= now => "expired",
                // None of its sites has this audience any more.
                _ if token.sites.as_ref().is_some_and(|sites| !sites.iter().any(configured)) => "no_site",
                _ => "valid",
            },
            id: token.id,
            user_id: token.user_id,
            user: username,
            service,
            sites: token.sites,
            label: token.label,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        }
    }
}

impl Listed for Line {
    const COLUMNS: &[&str] = &["id", "user", "sites", "status", "ends", "last used", "label"];

    fn cells(&self) -> Vec<String> {
        let at = |moment_of: Option<i64>, without: &str| moment_of.map_or_else(|| without.to_owned(), moment);
        vec![
            self.id.clone(),
            self.user.clone().unwrap_or_else(|| self.user_id.clone()),
            self.sites
                .as_ref()
                .map_or_else(|| "*".to_owned(), |sites| sites.join(",")),
            self.status.to_owned(),
            at(self.expires_at, "never"),
            at(self.last_used_at, "-"),
            self.label.clone().unwrap_or_default(),
        ]
    }
}

const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
/// In characters, of a label or a username.
const LONGEST_NAME: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::gate::fixture::{settings, site};

    #[test]
    fn sites_are_named_by_audience_name_or_host() {
        let mut wiki = site(&["wiki.test", "w.test"], vec![]);
        wiki.name = "Wiki".to_owned();
        let settings = settings("https://login.test", vec![wiki, site(&["*.corp.test"], vec![])]);
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            audiences(&settings, &names)
        };
        assert_eq!(found(&[]), Ok(None));
        for name in ["wiki.test", "Wiki", "w.test"] {
            assert_eq!(found(&[name]), Ok(Some(vec!["wiki.test".to_owned()])), "{name}");
        }
        let both = Ok(Some(vec!["wiki.test".to_owned(), "corp.test".to_owned()]));
        assert_eq!(found(&["Wiki", "w.test", "corp.test"]), both);
        let unknown = found(&["Wiki", "wiki"]).unwrap_err();
        assert!(
            unknown.contains("\"wiki\"") && unknown.contains("wiki.test, corp.test"),
            "{unknown}"
        );
    }

    #[test]
    fn a_life_is_a_duration_or_never() {
        for (text, life) in [
            ("never", Some(Expiry(None))),
            ("90d", Some(Expiry(Some(Duration::from_secs(90 * 86_400))))),
            ("1m", Some(Expiry(Some(Duration::from_secs(60))))),
            ("59s", None),
            ("0d", None),
            ("3651d", None),
            ("90", None),
            ("Never", None),
            ("-1d", None),
            ("", None),
        ] {
            assert_eq!(expiry(text).ok(), life, "{text}");
        }
    }
}
