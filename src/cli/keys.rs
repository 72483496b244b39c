//! `menshen keys`: secrets and keys.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::cli::operator::{self, Listed, Operator, OperatorError, at_store, moment};
use crate::cli::{DONE, FAILED, WRONG_USAGE, complain};
use crate::config::settings::Algorithm;
use crate::config::{self, Loaded, Settings};
use crate::login::keyring::{self, KeyringError};
use crate::store::{KeyKind, KeyRotation, KeyRow, StoreError};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// What `menshen keys` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Print a new secret for server.secret
    Secret,
    /// List the keys that all nodes share: what they are for and when they are used, not what they are made of
    List {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Make new keys; running nodes learn of them by themselves, and nobody is signed out
    Rotate {
        /// Only keys of this kind
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Wrap the keys under server.secret: those that stand in the clear, or all, when the secret has changed
    Wrap {
        /// File with the secret that wraps them until now
        #[arg(long, value_name = "FILE")]
        former_secret: Option<PathBuf>,
    },
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Seals cookies
    Sealing,
    /// Authenticates codes
    Scene,
    /// Signs assertions
    Signing,
}

impl From<Kind> for KeyKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Sealing => Self::Sealing,
            Kind::Scene => Self::Scene,
            Kind::Signing => Self::Signing,
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(
        "{kind} key {id} has yet to come into use, at {at}: nothing was made; rotate again after that, or other kinds \
         with --kind"
    )]
    Coming { kind: &'static str, id: i64, at: String },
    #[error("server.secret is not set: make one with `menshen keys secret`, and give it to every node")]
    NoSecret,
    #[error("{path}: {reason}")]
    Secret { path: String, reason: String },
    #[error("the keys changed in the meantime: run it again")]
    Changed,
}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        Self::Operator(error.into())
    }
}

/// A key as it is listed. Times are Unix seconds.
#[derive(Debug, Serialize)]
struct Line {
    id: i64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    state: &'static str,
    created_at: i64,
    active_from: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_at: Option<i64>,
    wrapped: bool,
}

impl Line {
    fn of(row: &KeyRow, settings: &Settings, now: i64) -> Self {
        Self {
            id: row.id,
            kind: row.kind.as_str(),
            algorithm: row.algorithm.clone(),
            kid: keyring::kid(row, settings.server.secret.as_ref()),
            state: match row.retired_at {
                _ if row.active_from > now => "coming",
                Some(retired) if retired <= now => "old",
                _ => "in use",
            },
            created_at: row.created_at,
            active_from: row.active_from,
            retired_at: row.retired_at,
            forgotten_at: row.retired_at.map(|at| at + keyring::stays(row.kind, settings)),
            wrapped: row.wrapped,
        }
    }
}

impl Listed for Line {
    const COLUMNS: &[&str] = &[
        "id",
        "kind",
        "algorithm",
        "state",
        "used from",
        "retired",
        "forgotten",
        "wrapped",
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), moment);
        vec![
            self.id.to_string(),
            self.kind.to_owned(),
            self.algorithm.clone().unwrap_or_else(|| "-".to_owned()),
            self.state.to_owned(),
            moment(self.active_from),
            or_dash(self.retired_at),
            or_dash(self.forgotten_at),
            if self.wrapped { "yes" } else { "no" }.to_owned(),
        ]
    }
}

/// Does it; the exit code.
pub(super) fn run(verb: &Verb, path: impl FnOnce() -> PathBuf, out: &mut impl Write) -> u8 {
    if matches!(verb, Verb::Secret) {
        return secret(out);
    }
    let Some(Loaded { settings, .. }) = operator::configuration(&path()) else {
        return WRONG_USAGE;
    };
    let done = at_store(&settings, async |operator| match verb {
        Verb::Secret => Ok(()),
        Verb::List { json } => list(operator, *json, out).await,
        Verb::Rotate { kind, json } => rotate(operator, *kind, *json, out).await,
        Verb::Wrap { former_secret } => wrap(operator, former_secret.as_deref(), out).await,
    });
    operator::ended(done)
}

fn secret(out: &mut impl Write) -> u8 {
    match config::secret() {
        Ok(secret) if writeln!(out, "{}", secret.expose_secret()).is_ok() => DONE,
        Ok(_) => FAILED,
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

async fn list(operator: &Operator<'_>, json: bool, out: &mut impl Write) -> Result<(), KeysError> {
    let rows = operator.store.keys().await?;
    show(operator, &rows, json, out)
}

fn show(operator: &Operator<'_>, rows: &[KeyRow], json: bool, out: &mut impl Write) -> Result<(), KeysError> {
    let now = operator.clock.now();
    let lines: Vec<Line> = rows.iter().map(|row| Line::of(row, operator.settings, now)).collect();
    Ok(operator::list(&lines, json, out).map_err(OperatorError::Output)?)
}

async fn rotate(
    operator: &Operator<'_>,
    kind: Option<Kind>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), KeysError> {
    let settings = operator.settings;
    let (secret, algorithm) = (settings.server.secret.as_ref(), settings.identity.algorithm);
    let kinds: Vec<KeyKind> = match kind {
        Some(kind) => vec![kind.into()],
        None if algorithm == Algorithm::Hs256 => vec![KeyKind::Sealing, KeyKind::Scene],
        None => vec![KeyKind::Sealing, KeyKind::Scene, KeyKind::Signing],
    };
    let now = operator.clock.now();
    // A secret that does not open the present keys would leave the nodes with new ones that they cannot open.
    keyring::verify(&operator.store.keys().await?, secret)?;
    let keys = keyring::further_keys(&kinds, secret, algorithm, now)?;
    let made = match operator.store.rotate_keys(&keys, now).await? {
        KeyRotation::Made(made) => made,
        KeyRotation::Coming(key) => {
            return Err(KeysError::Coming {
                kind: key.kind.as_str(),
                id: key.id,
                at: moment(key.active_from),
            });
        }
    };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    audit(operator, &names.join(" ")).await?;
    if secret.is_none() {
        complain("the new keys stand in the store in the clear: set server.secret, then `menshen keys wrap`");
    }
    show(operator, &made, json, out)
}

async fn wrap(operator: &Operator<'_>, former: Option<&Path>, out: &mut impl Write) -> Result<(), KeysError> {
    let secret = operator.settings.server.secret.as_ref().ok_or(KeysError::NoSecret)?;
    let former = former.map(read_secret).transpose()?;
    let version = operator.store.keys_version().await?;
    let rows = operator.store.keys().await?;
    let anew = keyring::wrapped_anew(&rows, former.as_ref(), secret)?;
    if !anew.is_empty() {
        if !operator.store.rewrap_keys(version, &anew).await? {
            return Err(KeysError::Changed);
        }
        audit(operator, "wrapped").await?;
    }
    let (done, all) = (anew.len(), rows.len());
    writeln!(
        out,
        "{done} of {all} keys wrapped anew; all are wrapped under server.secret"
    )
    .map_err(OperatorError::Output)?;
    Ok(())
}

fn read_secret(path: &Path) -> Result<SecretString, KeysError> {
    let refused = |reason: String| KeysError::Secret {
        path: path.display().to_string(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(refused("is empty: put the former server.secret there".to_owned()));
    }
    Ok(SecretString::from(text.to_owned()))
}

async fn audit(operator: &Operator<'_>, what: &str) -> Result<(), KeysError> {
    let event = AuditEvent {
        reason: Some(what.to_owned()),
        ..AuditEvent::new(AuditKind::KeysRotated, operator.clock.now())
    };
    Ok(operator.record(&[event]).await?)
}
