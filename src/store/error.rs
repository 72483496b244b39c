//! What can go wrong with the store, in the words of what an operator can do about it.
//!
//! Clients learn none of this: for them every one of these is `store_unavailable`. No message holds a bound value or the
//! store's address, which may carry a password.

use sqlx::error::ErrorKind;
use sqlx::postgres::PgDatabaseError;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection to be had.
    #[error("the store cannot be reached ({0}): check that the database runs and that `store.url` points at it")]
    Unavailable(String),
    /// No answer within the limit; a write may have happened or not.
    #[error("the store did not answer in time: check its load, its disk and the network between")]
    TimedOut,
    /// A later version has migrated it.
    #[error(
        "the store has schema {found}, this menshen knows up to {known}: run the newer menshen, or restore a backup"
    )]
    Newer {
        /// Version in the store.
        found: i64,
        /// Last version that this program knows.
        known: i64,
    },
    /// Written to, but may only be read.
    #[error(
        "the store is read-only: check the owner and mode of its file and directory, or that the server is no standby"
    )]
    ReadOnly,
    /// No room left.
    #[error("the store's disk is full: make room, writing goes on by itself")]
    Full,
    /// Somebody else holds it for too long.
    #[error("the store is locked by another program: end long transactions, backups or open database shells")]
    Locked,
    /// A value that must be unique is somebody else's.
    #[error("another record has this {what} already: choose another one, or free it there")]
    Conflict {
        /// `username`, `phone`, `identity`, `id`, or `record`.
        what: &'static str,
    },
    /// Anything else: a broken file, a refused password, a bug.
    #[error("the store is broken or not one of menshen's ({0}): check `store.url`, or restore a backup")]
    Broken(String),
}

impl StoreError {
    /// In metrics; `None` for what is an answer and no failure.
    pub(crate) const fn label(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Newer { .. } => "newer",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Broken(_) => "broken",
            Self::Conflict { .. } => return None,
        })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(postgres) => classify_postgres(postgres.code(), postgres.constraint(), postgres.message()),
                None => classify_sqlite(error.code().as_deref(), &error.kind(), error.message()),
            },
            sqlx::Error::PoolTimedOut => Self::TimedOut,
            sqlx::Error::Io(error) => Self::Unavailable(error.to_string()),
            sqlx::Error::Tls(error) => Self::Unavailable(error.to_string()),
            sqlx::Error::PoolClosed => Self::Unavailable("closed".to_owned()),
            sqlx::Error::WorkerCrashed => Self::Unavailable("its worker ended".to_owned()),
            // May quote the address with its password.
            sqlx::Error::Configuration(_) => Self::Broken("its address cannot be understood".to_owned()),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// SQLite result codes: <https://www.sqlite.org/rescode.html>. The low byte is the primary code.
fn classify_sqlite(code: Option<&str>, kind: &ErrorKind, message: &str) -> StoreError {
    if matches!(kind, ErrorKind::UniqueViolation) {
        return StoreError::Conflict {
            what: unique_thing(message),
        };
    }
    match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
        Some(SQLITE_BUSY | SQLITE_LOCKED) => StoreError::Locked,
        Some(SQLITE_READONLY) => StoreError::ReadOnly,
        Some(SQLITE_FULL) => StoreError::Full,
        Some(SQLITE_CANTOPEN | SQLITE_IOERR | SQLITE_PERM) => StoreError::Unavailable(message.to_owned()),
        _ => StoreError::Broken(message.to_owned()),
    }
}

/// PostgreSQL error codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn classify_postgres(code: &str, constraint: Option<&str>, message: &str) -> StoreError {
    match code {
        "23505" => StoreError::Conflict {
            what: unique_thing(constraint.unwrap_or_default()),
        },
        "25006" => StoreError::ReadOnly,
        "40001" | "40P01" | "55P03" => StoreError::Locked,
        "53100" => StoreError::Full,
        "57014" => StoreError::TimedOut,
        _ if code.starts_with("08") || code.starts_with("53") || code.starts_with("57P") => {
            StoreError::Unavailable(message.to_owned())
        }
        _ => StoreError::Broken(message.to_owned()),
    }
}

/// SQLite names the columns (`users.phone`), PostgreSQL the index (`users_phone`).
fn unique_thing(named: &str) -> &'static str {
    match named {
        _ if named.contains("username") => "username",
        _ if named.contains("phone") => "phone",
        _ if named.contains("identities") => "identity",
        _ if named.contains("_pkey") || named.contains(".id") => "id",
        _ => "record",
    }
}

const SQLITE_PERM: u32 = 3;
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::mem::discriminant;

    use super::*;

    fn unavailable() -> StoreError {
        StoreError::Unavailable(String::new())
    }

    fn broken() -> StoreError {
        StoreError::Broken(String::new())
    }

    #[test]
    fn postgres_codes_become_what_an_operator_can_act_on() {
        let table = [
            ("25006", StoreError::ReadOnly),
            ("40P01", StoreError::Locked),
            ("53100", StoreError::Full),
            ("53300", unavailable()),
            ("57014", StoreError::TimedOut),
            ("57P01", unavailable()),
            ("08006", unavailable()),
            ("28P01", broken()),
        ];
        for (code, expected) in table {
            let error = classify_postgres(code, None, "text");
            assert_eq!(discriminant(&error), discriminant(&expected), "{code} became {error:?}");
        }
    }

    #[test]
    fn extended_sqlite_codes_count_as_their_primary_code() {
        // SQLITE_BUSY_SNAPSHOT, SQLITE_READONLY_DIRECTORY, SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_NOTADB
        let table = [
            ("517", StoreError::Locked),
            ("1544", StoreError::ReadOnly),
            ("13", StoreError::Full),
            ("1034", unavailable()),
            ("26", broken()),
        ];
        for (code, expected) in table {
            let error = classify_sqlite(Some(code), &ErrorKind::Other, "text");
            assert_eq!(discriminant(&error), discriminant(&expected), "{code} became {error:?}");
        }
    }

    #[test]
    fn both_engines_name_the_same_unique_thing() {
        let table = [
            (
                "UNIQUE constraint failed: users.username_key",
                "users_username",
                "username",
            ),
            ("UNIQUE constraint failed: users.phone", "users_phone", "phone"),
            (
                "UNIQUE constraint failed: identities.app_id, identities.openid",
                "identities_pkey",
                "identity",
            ),
            ("UNIQUE constraint failed: users.id", "users_pkey", "id"),
        ];
        for (sqlite, postgres, expected) in table {
            assert_eq!(unique_thing(sqlite), expected, "{sqlite}");
            assert_eq!(unique_thing(postgres), expected, "{postgres}");
        }
    }
}
