//! How a connection is set up: the one place, beside the migrations' byte type, where the engines differ.
//!
//! SQLite: write-ahead log, so that readers never wait for a writer; `synchronous = FULL`, because a revocation or a
//! spent ticket that a power cut takes back is a way in, and a login costs two syncs at most; one writer connection and
//! a few readers. PostgreSQL: one pool, and the server itself ends statements that outlive their caller.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection};

use super::{Engine, STATEMENT_LIMIT, Store, StoreError, bounded};

/// Connects without looking at the schema.
pub(super) async fn connect(url: &SecretString) -> Result<Store, StoreError> {
    sqlx::any::install_default_drivers();
    match url.expose_secret().strip_prefix("sqlite:") {
        Some(rest) => bounded(open_sqlite(Target::parse(rest)?, Absent::Make)).await,
        None => bounded(open_postgres(url.expose_secret())).await,
    }
}

/// The same without making the file that is not there, and without changing how its journal is kept. `None` when there is
/// no file.
pub(super) async fn connect_to_existing(url: &SecretString) -> Result<Option<Store>, StoreError> {
    sqlx::any::install_default_drivers();
    let Some(rest) = url.expose_secret().strip_prefix("sqlite:") else {
        return bounded(open_postgres(url.expose_secret())).await.map(Some);
    };
    let target = Target::parse(rest)?;
    if let Target::File { path, .. } = &target
        && !path.exists()
    {
        return Ok(None);
    }
    bounded(open_sqlite(target, Absent::Refuse)).await.map(Some)
}

/// What to do about a file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    Make,
    Refuse,
}

/// What a `sqlite:` address says.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Memory,
    File { path: PathBuf, read_only: bool },
}

impl Target {
    fn parse(rest: &str) -> Result<Self, StoreError> {
        let broken = |what: &str| StoreError::Broken(what.to_owned());
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        let read_only = match query {
            "" | "mode=rwc" => false,
            "mode=ro" => true,
            _ => return Err(broken("a SQLite address takes no parameter but `mode=ro`")),
        };
        let name = name.strip_prefix("//").unwrap_or(name);
        if name == ":memory:" {
            return Ok(Self::Memory);
        }
        let path = percent_decode_str(name)
            .decode_utf8()
            .map_err(|_| broken("the file name is not UTF-8"))?;
        if path.is_empty() {
            return Err(broken("a SQLite address names a file, as in `sqlite:menshen.db`"));
        }
        Ok(Self::File {
            path: PathBuf::from(path.as_ref()),
            read_only,
        })
    }

    fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        let url = match self {
            Self::Memory => "sqlite::memory:".to_owned(),
            Self::File { path, read_only } => {
                let path = path
                    .to_str()
                    .ok_or_else(|| StoreError::Broken("the file name is not UTF-8".to_owned()))?;
                let mode = if *read_only { "ro" } else { "rw" };
                format!("sqlite://{}?mode={mode}", utf8_percent_encode(path, PATH))
            }
        };
        Ok(quiet(AnyConnectOptions::from_str(&url)?))
    }
}

async fn open_sqlite(mut target: Target, absent: Absent) -> Result<Store, StoreError> {
    if let Target::File { path, read_only } = &mut target {
        if !*read_only && absent == Absent::Make {
            create_file(path)?;
        }
        // The driver takes an address, whose parser has ideas of its own about relative paths and `..`.
        *path = path.canonicalize().map_err(|error| refused(&error))?;
    }
    let options = target.options()?;
    let mut first = AnyConnection::connect_with(&options).await?;
    set_up(&mut first, &SQLITE_PRAGMAS).await?;
    if let Target::File { read_only: false, .. } = target
        && absent == Absent::Make
    {
        sqlx::query("PRAGMA journal_mode = WAL").execute(&mut first).await?;
    }
    first.close().await?;
    let pool = |connections: u32| {
        // One connection to an in-memory database *is* the database: it must never be closed for being idle or old.
        AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(STATEMENT_LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(set_up(connection, &SQLITE_PRAGMAS)))
            .connect_with(options.clone())
    };
    let writer = pool(1).await?;
    let reader = match target {
        Target::Memory => writer.clone(),
        Target::File { .. } => pool(SQLITE_READERS).await?,
    };
    Ok(Store {
        writer,
        reader,
        engine: Engine::Sqlite,
        url: None,
        metrics: None,
    })
}

async fn open_postgres(url: &str) -> Result<Store, StoreError> {
    let options = quiet(AnyConnectOptions::from_str(url)?);
    let mut first = AnyConnection::connect_with(&options).await?;
    set_up(&mut first, &POSTGRES_SETTINGS).await?;
    first.close().await?;
    let pool: AnyPool = AnyPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(POSTGRES_ACQUIRE_LIMIT)
        .after_connect(|connection, _| Box::pin(set_up(connection, &POSTGRES_SETTINGS)))
        .connect_with(options)
        .await?;
    Ok(Store {
        writer: pool.clone(),
        reader: pool,
        engine: Engine::Postgres,
        url: Some(SecretString::from(url.to_owned())),
        metrics: None,
    })
}

/// Settings that belong to a connection. A pool tries a connection that fails here again until its time is over, and then
/// says no more than that; so each engine makes one connection by hand first, which says why.
async fn set_up(connection: &mut AnyConnection, settings: &[&'static str]) -> Result<(), sqlx::Error> {
    for setting in settings {
        sqlx::query(*setting).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Makes the directory (0700) and the file (0600); SQLite gives its log files the mode of the file.
fn create_file(path: &Path) -> Result<(), StoreError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| refused(&error))?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Statements are not logged: what they are is in the source, what they carry is nobody's business.
fn quiet(options: AnyConnectOptions) -> AnyConnectOptions {
    options.log_statements(log::LevelFilter::Off)
}

/// What a path in a SQLite address must not hold in the clear.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`');

/// Waiting for another program's write is a little shorter than our own limit, so that the engine's clear answer arrives
/// before we give up.
const SQLITE_PRAGMAS: [&str; 3] = [
    "PRAGMA busy_timeout = 4000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = FULL",
];

/// The same for PostgreSQL; the second ends what a node that died in mid-transaction still holds.
const POSTGRES_SETTINGS: [&str; 2] = [
    "SET statement_timeout = '4500ms'",
    "SET idle_in_transaction_session_timeout = '15s'",
];

/// Reads are short; more readers than cores would only wait for each other.
const SQLITE_READERS: u32 = 4;

/// Per node: ten nodes fit under PostgreSQL's default of a hundred.
const POSTGRES_CONNECTIONS: u32 = 8;

/// The pool retries a refused connection for this long; a login that cannot be had should say so soon.
const POSTGRES_ACQUIRE_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn addresses_name_a_file_or_memory() {
        let file = |path: &str, read_only| Target::File {
            path: PathBuf::from(path),
            read_only,
        };
        let table = [
            (":memory:", Some(Target::Memory)),
            ("/a/b.db", Some(file("/a/b.db", false))),
            ("///a/b.db", Some(file("/a/b.db", false))),
            ("//b.db", Some(file("b.db", false))),
            ("b%20c%3F.db?mode=ro", Some(file("b c?.db", true))),
            ("", None),
            ("b.db?cache=shared", None),
        ];
        for (address, expected) in table {
            assert_eq!(Target::parse(address).ok(), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_new_store_is_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new %20?#/menshen.db");
        let encoded = utf8_percent_encode(path.to_str().unwrap(), PATH).to_string();
        let store = Store::open(&SecretString::from(format!("sqlite:{encoded}")))
            .await
            .unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
        store.close().await;
    }

    #[tokio::test]
    async fn the_file_is_where_the_path_says_also_through_links_and_dots() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real/deep");
        std::fs::create_dir_all(&real).unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("link")).unwrap();
        let path = directory.path().join("link/../menshen.db");
        let store = Store::open(&SecretString::from(format!("sqlite:{}", path.display())))
            .await
            .unwrap();
        store.ping().await.unwrap();
        assert!(directory.path().join("real/menshen.db-wal").exists());
        assert!(!directory.path().join("menshen.db").exists());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable_and_its_password_is_not_told() {
        let url = SecretString::from("postgres://menshen:hunter2@127.0.0.1:9/menshen".to_owned());
        let error = Store::open(&url).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let nonsense = Store::open(&SecretString::from("nonsense hunter2".to_owned()))
            .await
            .unwrap_err();
        assert!(!format!("{nonsense} {nonsense:?}").contains("hunter2"));
    }
}
