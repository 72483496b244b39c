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
    let mut tx = store.begin().await?;
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
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        apply(&mut tx, store.engine, migration).await?;
        tx.execute(sqlx::query("INSERT INTO schema_versions (version) VALUES ($1)").bind(version))
            .await?;
    }
    tx.commit().await
}

async fn apply(tx: &mut WriteTx, engine: Engine, migration: &str) -> Result<(), StoreError> {
    let migration = match engine {
        Engine::Postgres => migration.replace(" BLOB", " BYTEA"),
        Engine::Sqlite => migration.to_owned(),
    };
    // The text is ours, compiled in; without bound values a driver takes several statements at once.
    super::bounded(async { Ok(sqlx::raw_sql(AssertSqlSafe(migration)).execute(&mut *tx.inner).await?) }).await?;
    Ok(())
}

/// The version that is there; none when there is no table yet.
async fn version(store: &Store) -> Result<Option<i64>, StoreError> {
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

const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// The last version that this program knows.
#[allow(clippy::cast_possible_wrap)]
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// "menshen" in ASCII: any number that no other program on the same server is likely to use.
const ADVISORY_LOCK: i64 = 0x006d_656e_7368_656e;
