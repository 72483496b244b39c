//! Stores and rows for tests.
//!
//! Every test gets a store of its own: a SQLite file in a temporary directory, or, with `MENSHEN_TEST_POSTGRES` set to
//! the address of a server, a schema of its own there, so that the whole suite runs on either engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::SecretString;
use tempfile::TempDir;

use super::{NewTicket, NewUser, SessionRow, Store};

/// The time at which tests happen.
pub(crate) const NOW: i64 = 1_790_000_000;

/// A store with whatever keeps it alive.
#[derive(Debug, Clone)]
pub(crate) struct TestStore {
    store: Store,
    url: SecretString,
    _directory: std::sync::Arc<Option<TempDir>>,
}

impl TestStore {
    /// Opens the same store a second time, as another node or a restart would.
    pub(crate) async fn reopen(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// A store without content.
pub(crate) async fn store() -> TestStore {
    let (url, directory) = empty().await;
    TestStore {
        store: Store::open(&url).await.unwrap(),
        url,
        _directory: std::sync::Arc::new(directory),
    }
}

/// The address of a store that nobody has opened yet, and what keeps its file alive.
pub(crate) async fn empty() -> (SecretString, Option<TempDir>) {
    let (url, directory) = match std::env::var("MENSHEN_TEST_POSTGRES") {
        Ok(server) => (postgres_schema(&server).await, None),
        Err(_) => {
            let directory = tempfile::tempdir().unwrap();
            (
                format!("sqlite:{}/menshen.db", directory.path().display()),
                Some(directory),
            )
        }
    };
    (SecretString::from(url), directory)
}

async fn postgres_schema(server: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let schema = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(server).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options=-c%20search_path%3D{schema}")
}

/// A user with nothing but an id.
pub(crate) async fn user(store: &Store, id: &str) {
    store
        .insert_user(&NewUser {
            id: id.to_owned(),
            created_at: NOW,
            ..NewUser::default()
        })
        .await
        .unwrap();
}

/// Gives a user a password, by its hash.
pub(crate) async fn password(store: &Store, user_id: &str, hash: &str) {
    let query = sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1")
        .bind(user_id.to_owned())
        .bind(hash.to_owned());
    assert_eq!(store.execute(query).await.unwrap(), 1);
}

/// Gives a user a bind code of an hour, by its hash.
pub(crate) async fn bind_code(store: &Store, id: &str, user_id: &str, hash: &str, at: i64) {
    let query =
        sqlx::query("INSERT INTO bind_codes (id, user_id, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(id.to_owned())
            .bind(user_id.to_owned())
            .bind(hash.to_owned())
            .bind(at)
            .bind(at + 3_600);
    assert_eq!(store.execute(query).await.unwrap(), 1);
}

/// Makes a user a program's.
pub(crate) async fn service(store: &Store, user_id: &str) {
    let query = sqlx::query("UPDATE users SET service = 1 WHERE id = $1").bind(user_id.to_owned());
    assert_eq!(store.execute(query).await.unwrap(), 1);
}

/// One number out of the store.
pub(crate) async fn number(store: &Store, query: &'static str) -> i64 {
    use sqlx::Row;
    let row = store.fetch_optional(sqlx::query(query)).await.unwrap().unwrap();
    row.try_get(0).unwrap()
}

/// A first scan of the ticket `id` by `openid`.
pub(crate) fn scan(id: &str, openid: &str) -> NewTicket {
    NewTicket {
        id: id.to_owned(),
        connection: "staff".to_owned(),
        app_id: "wx1".to_owned(),
        openid: openid.to_owned(),
        unionid: None,
        handle_hash: format!("handle of {openid} on {id}").into_bytes(),
        entry: Some(1047),
        phone_address: "203.0.113.7".to_owned(),
        phone_agent: "MicroMessenger".to_owned(),
        created_at: NOW - 10,
        scanned_at: NOW,
        expires_at: NOW + 120,
    }
}

/// A session of a user.
pub(crate) fn session(id: &str, user_id: &str) -> SessionRow {
    SessionRow {
        id: id.to_owned(),
        user_id: user_id.to_owned(),
        connection: "staff".to_owned(),
        site: "Wiki".to_owned(),
        host: "wiki.example.com".to_owned(),
        device: r#"{"browser":"Firefox"}"#.to_owned(),
        address: "198.51.100.1".to_owned(),
        place: None,
        ticket: Some("scene".to_owned()),
        created_at: NOW,
        auth_time: NOW,
        expires_at: NOW + 1000,
        last_used_at: NOW,
        ended_at: None,
        parent: None,
    }
}

/// The hashes of all bind codes.
pub(crate) async fn bind_code_hashes(store: &Store) -> Vec<String> {
    use sqlx::Row;
    let rows = store
        .fetch_all(sqlx::query("SELECT hash FROM bind_codes"))
        .await
        .unwrap();
    rows.iter().map(|row| row.try_get("hash").unwrap()).collect()
}
