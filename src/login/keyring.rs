//! The keys of an installation: made at the first start, read from the store at every other.
//!
//! All nodes share them through the store. The material is wrapped under `server.secret`; which rows are wrapped stands
//! in the row, so that a secret can be introduced later.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tracing::info;
use zeroize::Zeroizing;

use crate::config::settings::Algorithm;
use crate::identity::assertion::{SigningError, SigningKey, SigningKeys};
use crate::identity::wrap::{Wrapper, WrongSecret};
use crate::login::scene::{SceneKey, SceneKeys};
use crate::session::seal::{SealError, SealingKey, SealingRing};
use crate::store::{KeyKind, KeyRow, NewKey, Store, StoreError};

/// All keys, ready for use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Seals cookies.
    pub sealing: Arc<SealingRing>,
    /// Makes and checks scenes.
    pub scenes: Arc<SceneKeys>,
    /// Signs assertions.
    pub signing: Arc<SigningKeys>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows were wrapped under another secret.
    #[error(transparent)]
    Secret(#[from] WrongSecret),
    /// Rows are wrapped, and there is no secret.
    #[error("the keys in the store are wrapped: set server.secret to the secret that the store was made with")]
    NoSecret,
    /// A row holds no key of its kind.
    #[error("key {id} in the store is damaged: restore a backup")]
    Damaged {
        /// Number of the row.
        id: i64,
    },
    /// No randomness.
    #[error("no key could be made: the system has no randomness")]
    NoRandomness,
}

impl Keyring {
    /// Reads the keys, making those of a kind that does not exist yet.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub async fn open(
        store: &Store,
        secret: Option<&SecretString>,
        algorithm: Algorithm,
        now: i64,
    ) -> Result<Self, KeyringError> {
        let wrapper = secret.map(Wrapper::new).transpose()?;
        let wanted = wanted_keys(wrapper.as_ref(), algorithm, now)?;
        let rows = store.create_first_keys(&wanted).await?;
        if rows.iter().any(|row| row.created_at == now) {
            info!(keys = rows.len(), wrapped = wrapper.is_some(), "keys made");
        }
        let (mut sealing, mut scenes, mut signing) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let material = open_row(row, wrapper.as_ref())?;
            let damaged = KeyringError::Damaged { id: row.id };
            match row.kind {
                KeyKind::Sealing => sealing.push(sealing_key(row, &material).ok_or(damaged)?),
                KeyKind::Scene => scenes.push(scene_key(row, &material)),
                KeyKind::Signing => signing.push(signing_key(row, &material).ok_or(damaged)?),
            }
        }
        Ok(Self {
            sealing: Arc::new(SealingRing::new(sealing)),
            scenes: Arc::new(SceneKeys::new(scenes)),
            signing: Arc::new(SigningKeys::new(signing)),
        })
    }
}

/// One key of each kind that this configuration needs. The store keeps those that it has already.
fn wanted_keys(wrapper: Option<&Wrapper>, algorithm: Algorithm, now: i64) -> Result<Vec<NewKey>, KeyringError> {
    let mut keys = vec![
        new_key(KeyKind::Sealing, None, &*random()?, wrapper, now)?,
        new_key(KeyKind::Scene, None, &*random()?, wrapper, now)?,
    ];
    if let Some(name) = jws_name(algorithm) {
        let material = SigningKey::generate(algorithm).map_err(|_: SigningError| KeyringError::NoRandomness)?;
        keys.push(new_key(KeyKind::Signing, Some(name), &material, wrapper, now)?);
    }
    Ok(keys)
}

fn new_key(
    kind: KeyKind,
    algorithm: Option<&str>,
    material: &[u8],
    wrapper: Option<&Wrapper>,
    now: i64,
) -> Result<NewKey, KeyringError> {
    let stored = match wrapper {
        Some(wrapper) => wrapper.wrap(&label(kind, algorithm, now), material)?,
        None => material.to_vec(),
    };
    Ok(NewKey {
        kind,
        algorithm: algorithm.map(str::to_owned),
        material: SecretSlice::from(stored),
        wrapped: wrapper.is_some(),
        created_at: now,
        // The very first keys are used at once: nobody holds anything that another node would have to know.
        active_from: now,
    })
}

fn open_row(row: &KeyRow, wrapper: Option<&Wrapper>) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let stored = row.material.expose_secret();
    if !row.wrapped {
        return Ok(Zeroizing::new(stored.to_vec()));
    }
    let wrapper = wrapper.ok_or(KeyringError::NoSecret)?;
    Ok(wrapper.unwrap(&label(row.kind, row.algorithm.as_deref(), row.created_at), stored)?)
}

fn sealing_key(row: &KeyRow, material: &[u8]) -> Option<SealingKey> {
    let id = u32::try_from(row.id).ok()?;
    SealingKey::new(id, row.active_from, material.try_into().ok()?)
        .map_err(|_: SealError| ())
        .ok()
}

fn scene_key(row: &KeyRow, material: &[u8]) -> SceneKey {
    // A version is one byte of the scene; two keys that share it are 256 rotations apart.
    let version = u8::try_from(row.id.rem_euclid(256)).unwrap_or_default();
    SceneKey::new(version, row.active_from, material)
}

fn signing_key(row: &KeyRow, material: &[u8]) -> Option<SigningKey> {
    let algorithm = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256]
        .into_iter()
        .find(|algorithm| jws_name(*algorithm) == row.algorithm.as_deref())?;
    SigningKey::new(algorithm, row.active_from, material).ok()
}

fn jws_name(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::Es256 => Some("ES256"),
        Algorithm::EdDsa => Some("EdDSA"),
        Algorithm::Rs256 => Some("RS256"),
        Algorithm::Hs256 => None,
    }
}

fn label(kind: KeyKind, algorithm: Option<&str>, created_at: i64) -> String {
    let kind = match kind {
        KeyKind::Sealing => "sealing",
        KeyKind::Scene => "scene",
        KeyKind::Signing => "signing",
    };
    format!("{kind}/{}/{created_at}", algorithm.unwrap_or_default())
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeyringError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| KeyringError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::session::seal::Purpose;

    async fn store(directory: &tempfile::TempDir) -> Store {
        let url = format!("sqlite:{}", directory.path().join("menshen.db").display());
        Store::open(&url.into()).await.unwrap()
    }

    #[tokio::test]
    async fn second_start_reads_the_keys_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let secret: SecretString = "s".repeat(43).into();
        let open = async |now| {
            Keyring::open(&store(&directory).await, Some(&secret), Algorithm::Es256, now)
                .await
                .unwrap()
        };
        let first = open(100).await;
        let token = first.sealing.seal(Purpose::Session, &[], b"x", 100).unwrap();
        let scene = first.scenes.mint("staff", 100).unwrap();
        let second = open(200).await;
        assert!(second.sealing.open(Purpose::Session, &[], token.as_bytes()).is_some());
        assert!(second.scenes.check(scene.as_str()).is_ok());
        assert_eq!(second.signing.jwks(), first.signing.jwks());
    }

    #[tokio::test]
    async fn another_secret_or_none_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        Keyring::open(&store, Some(&"one".to_owned().into()), Algorithm::Es256, 100)
            .await
            .unwrap();
        let other = Keyring::open(&store, Some(&"two".to_owned().into()), Algorithm::Es256, 100).await;
        assert!(matches!(other, Err(KeyringError::Secret(_))));
        let none = Keyring::open(&store, None, Algorithm::Es256, 100).await;
        assert!(matches!(none, Err(KeyringError::NoSecret)));
    }

    #[tokio::test]
    async fn another_algorithm_gets_its_own_key_and_the_old_one_stays_published() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        Keyring::open(&store, None, Algorithm::Es256, 100).await.unwrap();
        let keyring = Keyring::open(&store, None, Algorithm::EdDsa, 200).await.unwrap();
        assert_eq!(keyring.signing.jwks().keys.len(), 2);
    }
}
