//! A store as an operator finds it: looked at, and neither made nor migrated nor changed.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use sqlx::Row;

use super::{Engine, Lock, Store, StoreError, connect, schema};

/// What a look at a store shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `SQLite 3.50.4`, `PostgreSQL 17.6`.
    pub engine: String,
    /// Of the schema; `None` in a database that Menshen has never used.
    pub schema: Option<i64>,
    /// The last that this program knows.
    pub known: i64,
    /// Bytes.
    pub size: u64,
    /// Of one question, the middle one of three.
    pub latency: Duration,
}

impl Store {
    /// Opens a store that is there, and leaves it as it is. Most calls need a schema that is up to date: see
    /// [`Condition::schema`].
    ///
    /// `None` for a file that does not exist yet.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub async fn open_as_it_is(url: &SecretString) -> Result<Option<Self>, StoreError> {
        connect::connect_to_existing(url).await
    }

    /// Looks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        let schema = schema::version(self).await?;
        let (version, size) = match self.engine {
            Engine::Sqlite => (
                "SELECT 'SQLite ' || sqlite_version() AS text",
                "SELECT page_count * page_size AS number FROM pragma_page_count(), pragma_page_size()",
            ),
            Engine::Postgres => (
                "SELECT 'PostgreSQL ' || current_setting('server_version') AS text",
                "SELECT pg_database_size(current_database()) AS number",
            ),
        };
        let nothing = || StoreError::Broken("no row from a statement that always has one".to_owned());
        let engine = self.fetch_optional(sqlx::query(version)).await?.ok_or_else(nothing)?;
        let size: i64 = self
            .fetch_optional(sqlx::query(size))
            .await?
            .ok_or_else(nothing)?
            .try_get("number")?;
        let mut latencies = [Duration::ZERO; 3];
        for latency in &mut latencies {
            let began = Instant::now();
            self.fetch_optional(sqlx::query("SELECT 1 AS one")).await?;
            *latency = began.elapsed();
        }
        latencies.sort();
        Ok(Condition {
            engine: engine.try_get("text")?,
            schema,
            known: schema::KNOWN,
            size: size.unsigned_abs(),
            latency: latencies[1],
        })
    }

    /// Begins to write and thinks better of it.
    ///
    /// # Errors
    /// What a real write would meet now.
    pub async fn try_to_write(&self) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        // Dropped without a commit: nothing has happened.
        tx.lock(Lock::Keys).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures;
    use super::*;

    #[tokio::test]
    async fn a_store_is_looked_at_and_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("menshen.db");
        let url = SecretString::from(format!("sqlite:{}", path.display()));
        assert!(Store::open_as_it_is(&url).await.unwrap().is_none());
        assert!(!path.exists());
        // An empty file is a database that nobody has used.
        std::fs::write(&path, "").unwrap();
        let store = Store::open_as_it_is(&url).await.unwrap().unwrap();
        assert_eq!(store.condition().await.unwrap().schema, None);
        store.close().await;
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn its_condition_is_told_and_a_try_changes_nothing() {
        let store = fixtures::store().await;
        let condition = store.condition().await.unwrap();
        assert_eq!(condition.schema, Some(condition.known));
        assert!(
            condition.size > 4096 && condition.engine.contains("SQL"),
            "{condition:?}"
        );
        let version = store.keys_version().await.unwrap();
        store.try_to_write().await.unwrap();
        assert_eq!(store.keys_version().await.unwrap(), version);
    }

    #[tokio::test]
    async fn a_store_that_may_only_be_read_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("menshen.db");
        let url = |parameters| SecretString::from(format!("sqlite:{}{parameters}", path.display()));
        Store::open(&url("")).await.unwrap().close().await;
        let store = Store::open_as_it_is(&url("?mode=ro")).await.unwrap().unwrap();
        let error = store.try_to_write().await.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly), "{error:?}");
    }
}
