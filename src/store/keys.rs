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
    /// Numbered from 1 with gaps, never reused.
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

/// What became of a rotation.
#[derive(Debug, Clone)]
pub enum KeyRotation {
    /// The new keys.
    Made(Vec<KeyRow>),
    /// This one has yet to come into use: a second rotation before that would leave nodes behind.
    Coming(KeyRow),
}

impl Store {
    /// All keys, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.fetch_all(select()).await?.iter().map(from_row).collect()
    }

    /// Grows with every change of the keys: who remembers it knows whether to read them again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys_version(&self) -> Result<i64, StoreError> {
        let query = sqlx::query("SELECT value FROM counters WHERE name = $1").bind(Lock::Keys.name());
        let row = self.fetch_optional(query).await?;
        let row = row.ok_or_else(|| StoreError::Broken("the counter keys is missing".to_owned()))?;
        Ok(row.try_get("value")?)
    }

    /// Stores those of `rows` of whose kind and algorithm no key is in use yet, and returns all keys. When several nodes
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
                .any(|key| key.kind == new.kind && key.algorithm == new.algorithm && key.retired_at.is_none())
            {
                let key = insert(&mut tx, new, &keys).await?;
                keys.push(key);
            }
        }
        tx.commit().await?;
        Ok(keys)
    }

    /// Stores further keys, each in the place of the others of its kind, which retire when it comes into use. Nothing is
    /// done while a key of one of the kinds has yet to come into use at `now`.
    ///
    /// # Errors
    /// [`StoreError`]; then no key was stored.
    pub async fn rotate_keys(&self, rows: &[NewKey], now: i64) -> Result<KeyRotation, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock(Lock::Keys).await?;
        let keys = all(&mut tx).await?;
        let waits = |key: &&KeyRow| key.active_from > now && rows.iter().any(|new| new.kind == key.kind);
        if let Some(coming) = keys.iter().find(waits) {
            return Ok(KeyRotation::Coming(coming.clone()));
        }
        let mut made = Vec::with_capacity(rows.len());
        for new in rows {
            let query = sqlx::query("UPDATE keys SET retired_at = $2 WHERE kind = $1 AND retired_at IS NULL")
                .bind(new.kind.as_str())
                .bind(new.active_from);
            tx.execute(query).await?;
            made.push(insert(&mut tx, new, &keys).await?);
        }
        tx.commit().await?;
        Ok(KeyRotation::Made(made))
    }

    /// Stores keys that were wrapped anew: number and material of each. False, and nothing is done, when the keys are
    /// not at `version` any more.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub async fn rewrap_keys(&self, version: i64, rows: &[(i64, SecretSlice<u8>)]) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if tx.take(Lock::Keys, 1).await? != version + 1 {
            return Ok(false);
        }
        for (id, material) in rows {
            let query = sqlx::query("UPDATE keys SET material = $2, wrapped = 1 WHERE id = $1")
                .bind(*id)
                .bind(material.expose_secret());
            tx.execute(query).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets keys of `kind` that retired before `before`, when nothing that they made can still be valid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_keys(&self, kind: KeyKind, before: i64) -> Result<u64, StoreError> {
        let over = |statement| sqlx::query(statement).bind(kind.as_str()).bind(before);
        let any = over("SELECT id FROM keys WHERE kind = $1 AND retired_at < $2 LIMIT 1");
        if self.fetch_optional(any).await?.is_none() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        // A number is spent so that every node looks again.
        tx.take(Lock::Keys, 1).await?;
        let swept = tx
            .execute(over("DELETE FROM keys WHERE kind = $1 AND retired_at < $2"))
            .await?;
        tx.commit().await?;
        Ok(swept)
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

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

async fn all(tx: &mut WriteTx) -> Result<Vec<KeyRow>, StoreError> {
    tx.fetch_all(select()).await?.iter().map(from_row).collect()
}

async fn insert(tx: &mut WriteTx, new: &NewKey, others: &[KeyRow]) -> Result<KeyRow, StoreError> {
    let mut id = tx.take(Lock::Keys, 1).await?;
    // A scene has room for one byte of its key's number, and old scene keys are swept long before 256 are there.
    let same_byte = |id: i64| move |key: &KeyRow| key.kind == KeyKind::Scene && (key.id - id).rem_euclid(256) == 0;
    while new.kind == KeyKind::Scene && others.iter().any(same_byte(id)) && others.len() < 256 {
        id = tx.take(Lock::Keys, 1).await?;
    }
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
    let kind = KeyKind::parse(kind);
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

    fn made(rotation: KeyRotation) -> Vec<KeyRow> {
        match rotation {
            KeyRotation::Made(keys) => keys,
            KeyRotation::Coming(key) => panic!("{key:?} is coming"),
        }
    }

    #[tokio::test]
    async fn a_new_key_retires_the_others_of_its_kind_when_it_comes_into_use() {
        let store = fixtures::store().await;
        let first = [
            new_key(KeyKind::Sealing, None, 1),
            new_key(KeyKind::Signing, Some("ES256"), 1),
        ];
        store.create_first_keys(&first).await.unwrap();
        let before = store.keys_version().await.unwrap();
        let next = NewKey {
            active_from: NOW + 120,
            ..new_key(KeyKind::Sealing, None, 7)
        };
        let key = made(store.rotate_keys(&[next], NOW + 60).await.unwrap()).remove(0);
        assert!(store.keys_version().await.unwrap() > before);
        let keys = store.keys().await.unwrap();
        let retired: Vec<_> = keys.iter().map(|key| (key.kind, key.retired_at)).collect();
        assert_eq!(
            retired,
            [
                (KeyKind::Sealing, Some(NOW + 120)),
                (KeyKind::Signing, None),
                (KeyKind::Sealing, None)
            ]
        );
        assert_eq!(
            (keys[2].id, keys[2].wrapped, keys[2].active_from),
            (key.id, true, NOW + 120)
        );
        assert_eq!(keys[2].material.expose_secret(), [7; 32]);
    }

    #[tokio::test]
    async fn a_key_that_is_coming_is_waited_for() {
        let store = fixtures::store().await;
        made(
            store
                .rotate_keys(&[new_key(KeyKind::Sealing, None, 1)], NOW)
                .await
                .unwrap(),
        );
        let both = [new_key(KeyKind::Scene, None, 2), new_key(KeyKind::Sealing, None, 2)];
        let rotation = store.rotate_keys(&both, NOW + 59).await.unwrap();
        assert!(matches!(rotation, KeyRotation::Coming(key) if key.material.expose_secret() == [1; 32]));
        assert_eq!(store.keys().await.unwrap().len(), 1, "half a rotation");
        made(store.rotate_keys(&both, NOW + 60).await.unwrap());
    }

    #[tokio::test]
    async fn keys_that_retired_are_swept_in_time_and_their_numbers_never_come_again() {
        let store = fixtures::store().await;
        made(
            store
                .rotate_keys(&[new_key(KeyKind::Sealing, None, 1)], NOW)
                .await
                .unwrap(),
        );
        let second = made(
            store
                .rotate_keys(&[new_key(KeyKind::Sealing, None, 2)], NOW + 60)
                .await
                .unwrap(),
        )
        .remove(0);
        let version = store.keys_version().await.unwrap();
        assert_eq!(store.sweep_keys(KeyKind::Signing, NOW + 100).await.unwrap(), 0);
        assert_eq!(store.sweep_keys(KeyKind::Sealing, NOW + 60).await.unwrap(), 0);
        assert_eq!(
            store.keys_version().await.unwrap(),
            version,
            "nodes look again for nothing"
        );
        assert_eq!(store.sweep_keys(KeyKind::Sealing, NOW + 61).await.unwrap(), 1);
        assert!(
            store.keys_version().await.unwrap() > version,
            "nodes keep what was swept"
        );
        assert_eq!(store.keys().await.unwrap().len(), 1);
        let third = made(
            store
                .rotate_keys(&[new_key(KeyKind::Sealing, None, 3)], NOW + 60)
                .await
                .unwrap(),
        )
        .remove(0);
        assert!(third.id > second.id, "a key id was used twice");
    }

    #[tokio::test]
    async fn two_scene_keys_never_share_the_byte_that_tells_them_apart() {
        let store = fixtures::store().await;
        made(
            store
                .rotate_keys(&[new_key(KeyKind::Scene, None, 1)], NOW)
                .await
                .unwrap(),
        );
        let mut tx = store.begin().await.unwrap();
        tx.take(Lock::Keys, 255).await.unwrap();
        tx.commit().await.unwrap();
        made(
            store
                .rotate_keys(&[new_key(KeyKind::Scene, None, 2)], NOW + 60)
                .await
                .unwrap(),
        );
        let ids: Vec<_> = store.keys().await.unwrap().iter().map(|key| key.id % 256).collect();
        assert_eq!(ids, [1, 2]);
    }

    #[tokio::test]
    async fn a_kind_whose_keys_have_all_retired_gets_a_new_one() {
        let store = fixtures::store().await;
        let es256 = || [new_key(KeyKind::Signing, Some("ES256"), 1)];
        store.create_first_keys(&es256()).await.unwrap();
        made(
            store
                .rotate_keys(&[new_key(KeyKind::Signing, Some("EdDSA"), 2)], NOW + 60)
                .await
                .unwrap(),
        );
        assert_eq!(store.create_first_keys(&es256()).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn keys_are_wrapped_anew_only_as_they_were_read() {
        let store = fixtures::store().await;
        let clear = NewKey {
            wrapped: false,
            ..new_key(KeyKind::Sealing, None, 1)
        };
        let key = made(store.rotate_keys(&[clear], NOW).await.unwrap()).remove(0);
        let version = store.keys_version().await.unwrap();
        let wrapped = [(key.id, SecretSlice::from(vec![9; 60]))];
        assert!(!store.rewrap_keys(version - 1, &wrapped).await.unwrap());
        assert!(!store.keys().await.unwrap()[0].wrapped);
        assert!(store.rewrap_keys(version, &wrapped).await.unwrap());
        let key = store.keys().await.unwrap().remove(0);
        assert_eq!((key.wrapped, key.material.expose_secret()), (true, &[9; 60][..]));
        assert!(store.keys_version().await.unwrap() > version);
    }

    #[test]
    fn debug_output_does_not_show_the_material() {
        assert!(!format!("{:?}", new_key(KeyKind::Scene, None, 77)).contains("77"));
    }
}
