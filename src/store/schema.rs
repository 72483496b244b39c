//! The schema and its versions.
//!
//! Migrations are compiled in, numbered from 1, and only ever added. All that are missing run in one transaction under
//! one lock, so that nodes may start together and a failed migration leaves nothing behind. A store that a later
//! version has migrated is refused: an older program would write rows that the newer one cannot trust. Between two
//! releases only additions are allowed, so that nodes can be upgraded one by one.

use sqlx::{AssertSqlSafe, Row};

use super::{Engine, Store, StoreError, WriteTx};

/// Brings the schema up to date.
pub(super) async fn migrate(store: &Store) -> Result<(), StoreError> {
    // A store that needs nothing is not written to: a read-only one can then still be read.
    match version(store).await? {
        Some(found) if found > KNOWN => return Err(StoreError::Newer { found, known: KNOWN }),
        Some(KNOWN) => return Ok(()),
        _ => {}
    }
    let mut tx = store.begin_unhurried().await?;
    if store.engine == Engine::Postgres {
        // `CREATE TABLE IF NOT EXISTS` is not safe by itself when two run it at once.
        tx.execute(sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ADVISORY_LOCK))
            .await?;
    }
    tx.execute(sqlx::query(
        "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)",
    ))
    .await?;
    let found = highest(tx.fetch_optional(sqlx::query(HIGHEST)).await?.as_ref())?.unwrap_or(0);
    if found > KNOWN {
        return Err(StoreError::Newer { found, known: KNOWN });
    }
    for (version, migration) in (1_i64..).zip(&MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        apply(&mut tx, store.engine, migration).await?;
        tx.execute(sqlx::query("INSERT INTO schema_versions (version) VALUES ($1)").bind(version))
            .await?;
    }
    tx.commit().await
}

async fn apply(tx: &mut WriteTx, engine: Engine, migration: &Migration) -> Result<(), StoreError> {
    let migration = match engine {
        Engine::Postgres => migration.both.replace(" BLOB", " BYTEA") + migration.postgres,
        Engine::Sqlite => migration.both.to_owned(),
    };
    // The text is ours, compiled in; without bound values a driver takes several statements at once.
    super::within(tx.limit, async {
        Ok(sqlx::raw_sql(AssertSqlSafe(migration)).execute(&mut *tx.inner).await?)
    })
    .await?;
    Ok(())
}

/// The version that is there; none when there is no table yet.
pub(super) async fn version(store: &Store) -> Result<Option<i64>, StoreError> {
    let table = match store.engine {
        Engine::Postgres => "SELECT 1 AS one WHERE to_regclass('schema_versions') IS NOT NULL",
        Engine::Sqlite => "SELECT 1 AS one FROM sqlite_master WHERE name = 'schema_versions'",
    };
    if store.fetch_optional(sqlx::query(table)).await?.is_none() {
        return Ok(None);
    }
    highest(store.fetch_optional(sqlx::query(HIGHEST)).await?.as_ref())
}

fn highest(row: Option<&sqlx::any::AnyRow>) -> Result<Option<i64>, StoreError> {
    Ok(row.map(|row| row.try_get("version")).transpose()?)
}

const HIGHEST: &str = "SELECT version FROM schema_versions ORDER BY version DESC LIMIT 1";

/// One step.
struct Migration {
    /// For either engine; `BLOB` stands for its byte type.
    both: &'static str,
    /// What only PostgreSQL has.
    postgres: &'static str,
}

const MIGRATIONS: [Migration; 2] = [
    Migration {
        both: include_str!("migrations/1.sql"),
        postgres: "",
    },
    Migration {
        both: include_str!("migrations/2.sql"),
        postgres: include_str!("migrations/2.postgres.sql"),
    },
];

/// The last version that this program knows.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// "menshen" in ASCII: any number that no other program on the same server is likely to use.
const ADVISORY_LOCK: i64 = 0x006d_656e_7368_656e;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use secrecy::SecretString;

    use super::super::fixtures::{self, NOW, scan, session};
    use super::*;

    fn address(path: &Path, parameters: &str) -> SecretString {
        SecretString::from(format!("sqlite:{}{parameters}", path.display()))
    }

    #[tokio::test]
    async fn nodes_that_start_together_migrate_once() {
        let (url, _directory) = fixtures::empty().await;
        let nodes = (0..8).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url).await })
        });
        for node in futures_util::future::join_all(nodes).await {
            assert_eq!(version(&node.unwrap().unwrap()).await.unwrap(), Some(KNOWN));
        }
    }

    #[tokio::test]
    async fn a_reopened_store_has_everything() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        store.insert_session(&session("s1", "u_1")).await.unwrap();
        assert!(store.ticket_scan(&scan("ticket", "o1")).await.unwrap());
        assert!(store.end_session("s1", "logout", NOW).await.unwrap());
        store.close().await;
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
        let again = store.reopen().await;
        again.ping().await.unwrap();
        assert!(again.user("u_1").await.unwrap().is_some());
        assert_eq!(again.session("s1").await.unwrap().unwrap().ended_at, Some(NOW));
        assert!(!again.ticket_scan(&scan("ticket", "o1")).await.unwrap());
        assert_eq!(again.revocations_after(0, 1000).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_one_connection_wrote_is_there_without_an_orderly_close() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        // A second opening beside the first, which still holds its log: as after a crash, but for the file locks.
        assert!(store.reopen().await.user("u_1").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_goes_over_whole_tables_has_time_and_nothing_else_has() {
        let store = fixtures::store().await;
        for (unhurried, server) in [(true, "590s"), (false, "4500ms")] {
            let mut tx = match unhurried {
                true => store.begin_unhurried().await.unwrap(),
                false => store.begin().await.unwrap(),
            };
            let limit = if unhurried { 600 } else { 5 };
            assert_eq!(tx.limit.as_secs(), limit);
            if store.engine == Engine::Postgres {
                let setting = sqlx::query("SELECT current_setting('statement_timeout') AS setting");
                let row = tx.fetch_optional(setting).await.unwrap().unwrap();
                assert_eq!(row.try_get::<String, _>("setting").unwrap(), server);
            }
            tx.commit().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_store_of_a_newer_program_is_refused_and_left_alone() {
        let store = fixtures::store().await;
        store
            .execute(sqlx::query("INSERT INTO schema_versions (version) VALUES ($1)").bind(KNOWN + 7))
            .await
            .unwrap();
        let error = migrate(&store).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Newer { found, known } if (found, known) == (KNOWN + 7, KNOWN)),
            "{error:?}"
        );
        assert!(error.to_string().contains("newer menshen"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_broken_and_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        std::fs::write(&path, "Dear diary, ".repeat(500)).unwrap();
        let error = Store::open(&address(&path, "")).await.unwrap_err();
        assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("Dear diary"));
    }

    #[tokio::test]
    async fn a_damaged_file_is_broken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("menshen.db");
        Store::open(&address(&path, "")).await.unwrap().close().await;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0x5a; 4096 * 4], 4096).unwrap();
        let error = match Store::open(&address(&path, "")).await {
            Ok(store) => store.keys().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_directory_in_place_of_the_file_is_unavailable() {
        let directory = tempfile::tempdir().unwrap();
        let error = Store::open(&address(directory.path(), "")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_read_only_store_can_be_read_and_says_why_it_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("menshen.db");
        let writable = Store::open(&address(&path, "")).await.unwrap();
        fixtures::user(&writable, "u_1").await;
        let read_only = Store::open(&address(&path, "?mode=ro")).await.unwrap();
        assert!(read_only.user("u_1").await.unwrap().is_some());
        let error = read_only.ticket_scan(&scan("ticket", "o1")).await.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly), "{error:?}");
    }

    #[tokio::test]
    async fn a_store_that_another_program_holds_is_locked_and_then_free_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("menshen.db");
        let store = Store::open(&address(&path, "")).await.unwrap();
        let other = Store::open(&address(&path, "")).await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 50")
            .execute(&store.writer)
            .await
            .unwrap();
        let held = other.directory().await.unwrap();
        let error = store.ticket_scan(&scan("ticket", "o1")).await.unwrap_err();
        assert!(matches!(error, StoreError::Locked), "{error:?}");
        assert!(
            store.ticket("ticket").await.unwrap().is_none(),
            "a reader waits for a writer"
        );
        drop(held);
        sqlx::query("PRAGMA busy_timeout = 4000")
            .execute(&store.writer)
            .await
            .unwrap();
        assert!(store.ticket_scan(&scan("ticket", "o1")).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_store_says_so_and_goes_on_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&address(&directory.path().join("menshen.db"), ""))
            .await
            .unwrap();
        let pages: i64 = sqlx::query("PRAGMA page_count")
            .fetch_one(&store.writer)
            .await
            .unwrap()
            .try_get(0)
            .unwrap();
        let limit = |pages: i64| sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")));
        limit(pages).execute(&store.writer).await.unwrap();
        let large = || {
            let mut ticket = scan("ticket", "o1");
            ticket.phone_agent = "x".repeat(100_000);
            ticket
        };
        let error = store.ticket_scan(&large()).await.unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error:?}");
        limit(pages + 1000).execute(&store.writer).await.unwrap();
        assert!(store.ticket_scan(&large()).await.unwrap());
    }

    #[tokio::test]
    async fn a_store_in_memory_lives_as_long_as_it_is_open() {
        let store = Store::open(&SecretString::from("sqlite::memory:".to_owned()))
            .await
            .unwrap();
        fixtures::user(&store, "u_1").await;
        assert!(store.user("u_1").await.unwrap().is_some());
        let other = Store::open(&SecretString::from("sqlite::memory:".to_owned()))
            .await
            .unwrap();
        assert!(
            other.user("u_1").await.unwrap().is_none(),
            "two stores share one memory"
        );
    }
}
