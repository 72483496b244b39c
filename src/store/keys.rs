//! The keys that all nodes share: sealing ring, scene key, signing keys.
//!
//! What a key is made of is opaque here: the caller wraps it under `server.secret` or not, and says which.

use secrecy::{ExposeSecret, SecretSlice};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Lock, Statement, Store, StoreError, WriteTx};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Authenticates scenes.
    Scene,
    /// Seals cookies.
    Sealing,
    /// Signs assertions.
    Signing,
}

/// A key as it is stored.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Numbered from 1, never reused.
    pub id: i64,
    /// What it is for.
    pub kind: KeyKind,
    /// JWS name, for signing keys.
    pub algorithm: Option<String>,
    /// Secret bytes, wrapped or not.
    pub material: SecretSlice<u8>,
    /// `material` is wrapped under `server.secret`.
    pub wrapped: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// In use from here on; published before.
    pub active_from: i64,
    /// Makes nothing new from here on.
    pub retired_at: Option<i64>,
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is for.
    pub kind: KeyKind,
    /// JWS name, for signing keys.
    pub algorithm: Option<String>,
    /// Secret bytes, wrapped or not.
    pub material: SecretSlice<u8>,
    /// `material` is wrapped under `server.secret`.
    pub wrapped: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// In use from here on.
    pub active_from: i64,
}

impl Store {
    /// All keys, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.fetch_all(select()).await?.iter().map(from_row).collect()
    }

    /// Stores those of `rows` of whose kind and algorithm no key exists yet, and returns all keys. When several nodes
    /// start at once, one of them makes the keys and the others find them.
    ///
    /// # Errors
    /// [`StoreError`]; then no key was stored.
    pub async fn create_first_keys(&self, rows: &[NewKey]) -> Result<Vec<KeyRow>, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::Keys).await?;
        let mut keys = all(&mut tx).await?;
        for new in rows {
            if !keys
                .iter()
                .any(|key| key.kind == new.kind && key.algorithm == new.algorithm)
            {
                keys.push(insert(&mut tx, new).await?);
            }
        }
        tx.commit().await?;
        Ok(keys)
    }

    /// Stores a further key.
    ///
    /// # Errors
    /// [`StoreError`]; then no key was stored.
    pub async fn insert_key(&self, new: &NewKey) -> Result<KeyRow, StoreError> {
        let mut tx = self.begin().await?;
        let key = insert(&mut tx, new).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Ends what a key may make; false if it has ended, or is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retire_key(&self, id: i64, at: i64) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE keys SET retired_at = $2 WHERE id = $1 AND retired_at IS NULL")
            .bind(id)
            .bind(at);
        Ok(self.execute(query).await? == 1)
    }

    /// Forgets keys of `kind` that retired before `before`, when nothing that they made can still be valid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_keys(&self, kind: KeyKind, before: i64) -> Result<u64, StoreError> {
        let query = sqlx::query("DELETE FROM keys WHERE kind = $1 AND retired_at < $2")
            .bind(kind.as_str())
            .bind(before);
        self.execute(query).await
    }
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::Scene, Self::Sealing, Self::Signing];

    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scene => "scene",
            Self::Sealing => "sealing",
            Self::Signing => "signing",
        }
    }
}

async fn all(tx: &mut WriteTx) -> Result<Vec<KeyRow>, StoreError> {
    tx.fetch_all(select()).await?.iter().map(from_row).collect()
}

async fn insert(tx: &mut WriteTx, new: &NewKey) -> Result<KeyRow, StoreError> {
    let id = tx.take(Lock::Keys, 1).await?;
    let query = sqlx::query(
        "INSERT INTO keys (id, kind, algorithm, material, wrapped, created_at, active_from)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(new.kind.as_str())
    .bind(new.algorithm.as_deref())
    .bind(new.material.expose_secret())
    .bind(i64::from(new.wrapped))
    .bind(new.created_at)
    .bind(new.active_from);
    tx.execute(query).await?;
    Ok(KeyRow {
        id,
        kind: new.kind,
        algorithm: new.algorithm.clone(),
        material: new.material.clone(),
        wrapped: new.wrapped,
        created_at: new.created_at,
        active_from: new.active_from,
        retired_at: None,
    })
}

fn select() -> Statement {
    sqlx::query(
        "SELECT id, kind, algorithm, material, wrapped, created_at, active_from, retired_at FROM keys ORDER BY id",
    )
}

fn from_row(row: &AnyRow) -> Result<KeyRow, StoreError> {
    let kind: &str = row.try_get("kind")?;
    let kind = KeyKind::ALL.into_iter().find(|known| known.as_str() == kind);
    Ok(KeyRow {
        id: row.try_get("id")?,
        kind: kind.ok_or_else(|| StoreError::Broken("a key of unknown kind".to_owned()))?,
        algorithm: row.try_get("algorithm")?,
        material: SecretSlice::from(row.try_get::<Vec<u8>, _>("material")?),
        wrapped: row.try_get::<i64, _>("wrapped")? != 0,
        created_at: row.try_get("created_at")?,
        active_from: row.try_get("active_from")?,
        retired_at: row.try_get("retired_at")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::HashSet;

    use super::super::fixtures::{self, NOW};
    use super::*;

    fn new_key(kind: KeyKind, algorithm: Option<&str>, byte: u8) -> NewKey {
        NewKey {
            kind,
            algorithm: algorithm.map(str::to_owned),
            material: SecretSlice::from(vec![byte; 32]),
            wrapped: true,
            created_at: NOW,
            active_from: NOW + 60,
        }
    }

    #[tokio::test]
    async fn nodes_that_start_together_agree_on_one_key_of_each_kind() {
        let store = fixtures::store().await;
        let nodes = (0..20_u8).map(|node| {
            let store = store.clone();
            tokio::spawn(async move {
                let rows = [
                    new_key(KeyKind::Sealing, None, node),
                    new_key(KeyKind::Scene, None, node),
                    new_key(KeyKind::Signing, Some("ES256"), node),
                ];
                store.create_first_keys(&rows).await.unwrap()
            })
        });
        let mut seen = HashSet::new();
        for node in futures_util::future::join_all(nodes).await {
            let keys = node.unwrap();
            assert_eq!(keys.len(), 3);
            seen.insert(
                keys.iter()
                    .map(|key| (key.id, key.material.expose_secret().to_vec()))
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(seen.len(), 1, "nodes disagree");
    }

    #[tokio::test]
    async fn a_kind_that_exists_is_left_alone_and_a_new_algorithm_is_added() {
        let store = fixtures::store().await;
        store
            .create_first_keys(&[new_key(KeyKind::Signing, Some("ES256"), 1)])
            .await
            .unwrap();
        let both = [
            new_key(KeyKind::Signing, Some("ES256"), 2),
            new_key(KeyKind::Signing, Some("EdDSA"), 3),
        ];
        let keys = store.create_first_keys(&both).await.unwrap();
        let found: Vec<_> = keys
            .iter()
            .map(|key| (key.algorithm.as_deref().unwrap(), key.material.expose_secret()[0]))
            .collect();
        assert_eq!(found, [("ES256", 1), ("EdDSA", 3)]);
    }

    #[tokio::test]
    async fn a_key_comes_back_as_it_went_in_and_retires_once() {
        let store = fixtures::store().await;
        let made = store.insert_key(&new_key(KeyKind::Sealing, None, 7)).await.unwrap();
        let read = store.keys().await.unwrap().remove(0);
        assert_eq!(
            (read.id, read.kind, read.wrapped, read.active_from),
            (made.id, KeyKind::Sealing, true, NOW + 60)
        );
        assert_eq!(read.material.expose_secret(), [7; 32]);
        assert!(store.retire_key(read.id, NOW + 5).await.unwrap());
        assert!(!store.retire_key(read.id, NOW + 9).await.unwrap());
        assert_eq!(store.keys().await.unwrap()[0].retired_at, Some(NOW + 5));
        assert_eq!(store.sweep_keys(KeyKind::Signing, NOW + 10).await.unwrap(), 0);
        assert_eq!(store.sweep_keys(KeyKind::Sealing, NOW + 5).await.unwrap(), 0);
        assert_eq!(store.sweep_keys(KeyKind::Sealing, NOW + 6).await.unwrap(), 1);
        let next = store.insert_key(&new_key(KeyKind::Sealing, None, 8)).await.unwrap();
        assert!(next.id > read.id, "a key id was used twice");
    }

    #[test]
    fn debug_output_does_not_show_the_material() {
        assert!(!format!("{:?}", new_key(KeyKind::Scene, None, 77)).contains("77"));
    }
}
