//! Everything durable, in SQL: SQLite embedded by default, PostgreSQL for several nodes.
//!
//! **One set of statements.** Both engines are reached through `sqlx::Any`: `$1` placeholders, `ON CONFLICT`,
//! `RETURNING`; integers for booleans and Unix seconds; text for JSON. What this costs is a copy of each bound value and
//! an error at run time instead of compile time for a type that `Any` does not know, so the same tests run against both
//! engines. An enum of two pools would need every statement twice or a macro around each. The engines differ in
//! three places only: how a connection is set up (`connect`), the migrations (`schema`: the name of the byte type, and
//! PostgreSQL's triggers), and what is told between nodes (`changes`).
//!
//! **Compare-and-set.** Whoever changes a state names the state that it found; the statement's row count says who won.
//! Times are Unix seconds of the caller: a statement never asks the database's clock, but for `nodes`, which compares it.
//!
//! **Locks.** What must not run twice at a time takes a row of `counters` first (`Lock`): a mutex that is the same on
//! both engines, ends with its transaction, and needs no retry. They are taken in the order of the enum and before any
//! other row, so two transactions cannot wait for each other.
//!
//! **Every wait has a limit** (five seconds; ten minutes for a statement of a migration or a restoration, for which nobody
//! waits at a page): a store that hangs is an error, not a stuck request. After
//! [`StoreError::TimedOut`] a write may have happened or not; compare-and-set makes the repetition harmless.

mod audit;
mod audit_pages;
mod backup;
mod bind_codes;
mod binding;
mod changes;
mod connect;
mod error;
mod examine;
mod handoffs;
mod identities;
mod keys;
mod nodes;
mod personal;
mod revocations;
mod schema;
mod session_list;
mod sessions;
mod ticket;
mod tickets;
mod tokens;
mod user_batches;
mod user_states;
mod users;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row};

pub use audit::AuditRow;
pub use audit_pages::{AuditFilter, AuditOrder, AuditPage, AuditPlace};
pub use backup::{BackupError, Contents, examine};
pub use bind_codes::NewBindCode;
pub use binding::{AccountProofs, Attempt, AttemptAt, BindCode, Binding, Bound, Holding};
pub use changes::{Change, Changes};
pub use error::StoreError;
pub use examine::Condition;
pub use handoffs::{Marked, NewHandoff, OnceMark};
pub use identities::IdentityRow;
pub use keys::{KeyKind, KeyRotation, KeyRow, NewKey};
pub use nodes::{NodeReport, NodeRow, PhoneFailure};
pub use revocations::{Revocation, RevocationKind};
pub use session_list::SessionFilter;
pub use sessions::{SessionRow, public_session_id};
pub use ticket::{Confirmation, EndedTicket, NewTicket, Rescan, Ticket, TicketState};
pub use tokens::{OwnedToken, RevokedToken, Rotation, TokenKind, TokenRow, token_subject};
pub use user_batches::UserKey;
pub use users::{NewUser, User, UserChange, fold_username};

use crate::telemetry::metrics::Metrics;

/// The durable state. Cheap to clone; all clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// One connection on SQLite, so that writers queue here in order instead of colliding in the file.
    writer: AnyPool,
    reader: AnyPool,
    engine: Engine,
    /// Of a server: its changes are listened to on a connection of their own.
    url: Option<SecretString>,
    metrics: Option<Arc<Metrics>>,
}

/// A write transaction over several statements. Dropped without [`WriteTx::commit`], nothing happened.
pub struct WriteTx {
    inner: sqlx::Transaction<'static, Any>,
    metrics: Option<Arc<Metrics>>,
    /// Of each statement.
    limit: Duration,
}

/// What runs once at a time. Taken in this order, before any other row is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lock {
    /// Making keys.
    Keys,
    /// Deciding which user an identity belongs to.
    People,
    /// Numbering revocations: their numbers are in the order of their commits, on PostgreSQL too.
    Revocations,
    /// Numbering audit rows.
    Audit,
}

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

impl Store {
    /// Opens the store at `url` (`sqlite:/path/file.db[?mode=ro]`, `sqlite::memory:` or `postgres://…`), makes the file
    /// with mode 0600 if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later Menshen has migrated it; otherwise what keeps it from being opened.
    pub async fn open(url: &SecretString) -> Result<Self, StoreError> {
        let store = connect::connect(url).await?;
        schema::migrate(&store).await?;
        Ok(store)
    }

    /// Counts failures from now on.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// Asks for one row: whether the store answers.
    ///
    /// # Errors
    /// Whatever a real query would meet now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.fetch_optional(sqlx::query("SELECT version FROM schema_versions LIMIT 1"))
            .await
            .map(|_| ())
    }

    /// Closes the connections; on SQLite this folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Begins a write transaction: immediately exclusive on SQLite, `READ COMMITTED` on PostgreSQL.
    pub(crate) async fn begin(&self) -> Result<WriteTx, StoreError> {
        counted(self.metrics.as_deref(), async {
            let begun = match self.engine {
                Engine::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await,
                Engine::Postgres => self.writer.begin().await,
            };
            Ok(WriteTx {
                inner: begun?,
                metrics: self.metrics.clone(),
                limit: STATEMENT_LIMIT,
            })
        })
        .await
    }

    /// The same for what goes over whole tables while no person waits for it.
    async fn begin_unhurried(&self) -> Result<WriteTx, StoreError> {
        let mut tx = self.begin().await?;
        if self.engine == Engine::Postgres {
            tx.execute(sqlx::query("SET LOCAL statement_timeout = '590s'")).await?;
        }
        tx.limit = UNHURRIED_LIMIT;
        Ok(tx)
    }

    async fn fetch_optional(&self, query: Statement) -> Result<Option<AnyRow>, StoreError> {
        counted(self.metrics.as_deref(), async {
            Ok(query.fetch_optional(&self.reader).await?)
        })
        .await
    }

    async fn fetch_all(&self, query: Statement) -> Result<Vec<AnyRow>, StoreError> {
        counted(self.metrics.as_deref(), async {
            Ok(query.fetch_all(&self.reader).await?)
        })
        .await
    }

    /// Runs one writing statement; says how many rows it changed.
    async fn execute(&self, query: Statement) -> Result<u64, StoreError> {
        counted(self.metrics.as_deref(), async {
            Ok(query.execute(&self.writer).await?)
        })
        .await
        .map(|done: AnyQueryResult| done.rows_affected())
    }

    /// Runs statements that need nothing of each other. On PostgreSQL each is a transaction of its own: one that held the
    /// rows of them all could wait for somebody who waits for it, and the server would end either. On SQLite one
    /// transaction is exclusive anyway, and writes to the disk once.
    async fn execute_apart(&self, statements: impl Iterator<Item = Statement>) -> Result<(), StoreError> {
        match self.engine {
            Engine::Postgres => {
                for statement in statements {
                    self.execute(statement).await?;
                }
                Ok(())
            }
            Engine::Sqlite => {
                let mut tx = self.begin().await?;
                for statement in statements {
                    tx.execute(statement).await?;
                }
                tx.commit().await
            }
        }
    }
}

impl WriteTx {
    /// Makes everything since the beginning durable.
    ///
    /// # Errors
    /// The transaction did not happen, except after [`StoreError::TimedOut`], when it may have.
    pub async fn commit(self) -> Result<(), StoreError> {
        counted_within(self.limit, self.metrics.as_deref(), async {
            Ok(self.inner.commit().await?)
        })
        .await
    }

    /// Waits until nobody else holds `lock`, and holds it until the transaction ends.
    pub(crate) async fn lock(&mut self, lock: Lock) -> Result<(), StoreError> {
        self.take(lock, 0).await.map(|_| ())
    }

    /// Holds `lock` and takes `count` numbers from its counter: the last of them.
    pub(crate) async fn take(&mut self, lock: Lock, count: i64) -> Result<i64, StoreError> {
        let rows = self
            .fetch_all(
                sqlx::query("UPDATE counters SET value = value + $2 WHERE name = $1 RETURNING value")
                    .bind(lock.name())
                    .bind(count),
            )
            .await?;
        let Some(row) = rows.first() else {
            return Err(StoreError::Broken(format!("the counter {} is missing", lock.name())));
        };
        Ok(row.try_get("value")?)
    }

    async fn fetch_optional(&mut self, query: Statement) -> Result<Option<AnyRow>, StoreError> {
        counted_within(self.limit, self.metrics.as_deref(), async {
            Ok(query.fetch_optional(&mut *self.inner).await?)
        })
        .await
    }

    async fn fetch_all(&mut self, query: Statement) -> Result<Vec<AnyRow>, StoreError> {
        counted_within(self.limit, self.metrics.as_deref(), async {
            Ok(query.fetch_all(&mut *self.inner).await?)
        })
        .await
    }

    async fn execute(&mut self, query: Statement) -> Result<u64, StoreError> {
        let done: AnyQueryResult = counted_within(self.limit, self.metrics.as_deref(), async {
            Ok(query.execute(&mut *self.inner).await?)
        })
        .await?;
        Ok(done.rows_affected())
    }
}

impl std::fmt::Debug for WriteTx {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WriteTx")
    }
}

impl Lock {
    const ALL: [Self; 4] = [Self::Keys, Self::People, Self::Revocations, Self::Audit];

    const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::People => "people",
            Self::Revocations => "revocations",
            Self::Audit => "audit",
        }
    }
}

/// A statement with its bound values.
type Statement = Query<'static, Any, AnyArguments>;

/// A statement that inserts `rows` rows of `columns` values: `head`, then `($1, $2), ($3, $4)`. A round trip for each row
/// would make an import ten times as long.
fn insert_rows(head: &str, columns: usize, rows: usize) -> AssertSqlSafe<String> {
    insert_rows_or(head, columns, rows, "")
}

/// The same with what follows the rows, such as `ON CONFLICT`. Both texts are ours, compiled in.
fn insert_rows_or(head: &str, columns: usize, rows: usize, tail: &str) -> AssertSqlSafe<String> {
    let mut text = String::with_capacity(head.len() + rows * columns * 6 + tail.len());
    text.push_str(head);
    for row in 0..rows {
        text.push_str(if row == 0 { " (" } else { ", (" });
        for column in 1..=columns {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "{}${}",
                if column == 1 { "" } else { ", " },
                row * columns + column
            );
        }
        text.push(')');
    }
    text.push(' ');
    text.push_str(tail);
    AssertSqlSafe(text)
}

async fn counted<T>(
    metrics: Option<&Metrics>,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    counted_within(STATEMENT_LIMIT, metrics, work).await
}

async fn counted_within<T>(
    limit: Duration,
    metrics: Option<&Metrics>,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    within(limit, work).await.inspect_err(|error| {
        if let (Some(metrics), Some(kind)) = (metrics, error.label()) {
            metrics.store_failed(kind);
        }
    })
}

async fn bounded<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    within(STATEMENT_LIMIT, work).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}

/// How long one statement may take, waiting for a connection included. A person waits for it, and the phone's own
/// request ends after some ten seconds.
const STATEMENT_LIMIT: Duration = Duration::from_secs(5);

/// How long one statement of a migration or a restoration may take: an index over, or the emptying of, a table of millions
/// of rows. PostgreSQL ends it a little earlier.
const UNHURRIED_LIMIT: Duration = Duration::from_secs(600);

/// Rows of one statement: 100 rows of 13 values are well below what either engine binds (SQLite 32,766), and are done in
/// milliseconds.
const ROWS_AT_ONCE: usize = 100;

#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::telemetry::metrics::Moment;

    fn timed_out(metrics: &Metrics) -> bool {
        let text = metrics.text(&Moment::default()).unwrap();
        text.contains("menshen_store_errors_total{kind=\"timed_out\"} 1\n")
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_does_not_end_is_given_up_and_counted() {
        let metrics = Metrics::new().unwrap();
        let before = tokio::time::Instant::now();
        let result = counted(Some(&metrics), std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(result, Err(StoreError::TimedOut)));
        assert_eq!(before.elapsed(), STATEMENT_LIMIT);
        assert!(timed_out(&metrics));
    }

    /// SQLite has one writer: whoever waits for it waits no longer than for a statement.
    #[tokio::test]
    async fn a_writer_that_somebody_holds_is_waited_for_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/menshen.db", directory.path().display());
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = Store::open(&SecretString::from(url)).await.unwrap();
        let store = store.counted_by(Arc::clone(&metrics));
        let held = store.begin().await.unwrap();
        // Nothing but that wait is left: it is over at once.
        tokio::time::pause();
        assert!(matches!(store.begin().await, Err(StoreError::TimedOut)));
        tokio::time::resume();
        assert!(timed_out(&metrics));
        drop(held);
        store.begin().await.unwrap();
    }
}
