//! `menshen backup` and `menshen restore`: the store as one file, and back.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::operator::{self, Operator, OperatorError, at_store, moment};
use crate::cli::{WRONG_USAGE, complain};
use crate::config::{Loaded, Settings};
use crate::login::keyring::{self, KeyringError};
use crate::store::{BackupError, Contents, examine};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// What `menshen backup` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// Where the backup is written, readable by its owner alone
    file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What `menshen restore` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Replace what is in the store
    #[arg(long)]
    force: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Keys(#[from] KeyringError),
    #[error("{path}: {source}")]
    Backup { path: String, source: BackupError },
    #[error("{0} is there already: choose another name, or --force to replace it")]
    Exists(String),
    #[error(
        "the store is not empty: it has {0}; restore into an empty one (another store.url), or lose that with --force"
    )]
    NotEmpty(String),
}

/// What was written or read.
#[derive(Debug, Serialize)]
struct Done<'d> {
    file: String,
    made_at: i64,
    rows: &'d BTreeMap<&'static str, u64>,
    sha256: &'d str,
    keys_wrapped: bool,
}

impl Failed {
    fn of(path: &Path) -> impl Fn(BackupError) -> Self {
        move |source| match source {
            BackupError::Store(error) => Self::Operator(error.into()),
            BackupError::NotEmpty(rows) => Self::NotEmpty(in_words(&rows)),
            source => Self::Backup {
                path: path.display().to_string(),
                source,
            },
        }
    }
}

/// Writes a backup; the exit code.
pub(super) fn back_up(asked: &Backup, path: &Path, out: &mut impl Write) -> u8 {
    let Some(Loaded { settings, .. }) = operator::configuration(path) else {
        return WRONG_USAGE;
    };
    let done = at_store(&settings, async |operator| {
        let contents = write(operator, asked).await?;
        let keys = operator.store.keys().await.map_err(OperatorError::from)?;
        let wrapped = keys.iter().all(|key| key.wrapped);
        if !wrapped {
            complain(
                "the keys stand in this backup in the clear: whoever reads it can sign in as anybody; keep it as secret as \
                 the store, or set server.secret and `menshen keys wrap` first",
            );
        }
        say(asked.json, "backed up", &asked.file, &contents, wrapped, out)
    });
    operator::ended(done)
}

async fn write(operator: &Operator<'_>, asked: &Backup) -> Result<Contents, Failed> {
    let target = &asked.file;
    let failed = Failed::of(target);
    let exists = || Failed::Exists(target.display().to_string());
    if target.exists() && !asked.force {
        return Err(exists());
    }
    let part = Part::create(target).map_err(|error| failed(error.into()))?;
    let mut file = BufWriter::new(&part.file);
    let now = operator.clock.now();
    let contents = operator
        .store
        .back_up(&mut file, now, progress("written"))
        .await
        .map_err(&failed)?;
    drop(file);
    match part.become_file(target, asked.force) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists()),
        done => done.map_err(|error| failed(error.into()))?,
    }
    let event = AuditEvent::new(AuditKind::StoreBackedUp, now);
    if let Err(error) = operator.record(&[event]).await {
        // A store that can only be read can be backed up all the same.
        complain(&format!("the backup is not in the audit: {error}"));
    }
    Ok(contents)
}

/// Fills the store from a backup; the exit code.
pub(super) fn restore(asked: &Restore, path: &Path, out: &mut impl Write) -> u8 {
    let Some(Loaded { settings, .. }) = operator::configuration(path) else {
        return WRONG_USAGE;
    };
    let wrapped = match examined(asked, &settings) {
        Ok(wrapped) => wrapped,
        Err(error) => return operator::ended(Err(error)),
    };
    let done = at_store(&settings, async |operator| {
        let failed = Failed::of(&asked.file);
        let file = File::open(&asked.file).map_err(|error| failed(error.into()))?;
        let now = operator.clock.now();
        let contents = operator
            .store
            .restore(BufReader::new(file), asked.force, now, progress("restored"))
            .await
            .map_err(&failed)?;
        operator
            .record(&[AuditEvent::new(AuditKind::StoreRestored, now)])
            .await?;
        complain(&format!(
            "what was ended, revoked or disabled after {} and is not known to this store holds again: \
             `menshen sessions revoke --all --yes` signs everybody out",
            moment(contents.made_at)
        ));
        if !wrapped {
            complain("the keys stand in the store in the clear: set server.secret, then `menshen keys wrap`");
        }
        say(asked.json, "restored", &asked.file, &contents, wrapped, out)
    });
    operator::ended(done)
}

/// Reads all of it and tries its keys before the store is touched: whether they are wrapped.
fn examined(asked: &Restore, settings: &Settings) -> Result<bool, Failed> {
    let failed = Failed::of(&asked.file);
    let file = File::open(&asked.file).map_err(|error| failed(error.into()))?;
    let (_, keys) = examine(BufReader::new(file), progress("checked")).map_err(&failed)?;
    keyring::verify(&keys, settings.server.secret.as_ref())?;
    Ok(keys.iter().all(|key| key.wrapped))
}

fn say(
    json: bool,
    what: &str,
    file: &Path,
    contents: &Contents,
    keys_wrapped: bool,
    out: &mut impl Write,
) -> Result<(), Failed> {
    let said = if json {
        let done = Done {
            file: file.display().to_string(),
            made_at: contents.made_at,
            rows: &contents.rows,
            sha256: &contents.sha256,
            keys_wrapped,
        };
        operator::write_json(&done, out)
    } else {
        writeln!(out, "{what}: {}", in_words(&contents.rows))
    };
    Ok(said.map_err(OperatorError::Output)?)
}

fn in_words(rows: &BTreeMap<&'static str, u64>) -> String {
    let counted = rows.iter().filter(|(name, _)| **name != "counters");
    let words: Vec<String> = counted.map(|(name, count)| format!("{name} {count}")).collect();
    words.join(", ")
}

/// Says now and then how far it is, to a person.
fn progress(what: &'static str) -> impl FnMut(u64) {
    let watched = io::stderr().is_terminal();
    move |rows| {
        if watched && rows > 0 && rows.is_multiple_of(10_000) {
            let _ = write!(io::stderr(), "\r{rows} rows {what}\r");
        }
    }
}

/// A file that is not there until it is complete.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// Beside its target, so that it can take the name in one step.
    fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(ErrorKind::InvalidInput)?;
        let part = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let path = target.with_file_name(part);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { path, file })
    }

    /// On the disk, under its name.
    fn become_file(self, target: &Path, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if replace {
            std::fs::rename(&self.path, target)?;
        } else {
            // Unlike a renaming, a link never replaces what somebody else has put there meanwhile.
            std::fs::hard_link(&self.path, target)?;
        }
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already when it was renamed.
        let _ = std::fs::remove_file(&self.path);
    }
}
