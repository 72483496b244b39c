//! The keys of an installation: made at the first start, read from the store at every other and whenever they change.
//!
//! All nodes share them through the store. The material is wrapped under `server.secret`; which rows are wrapped stands
//! in the row, so that a secret can be introduced later. A new key is published before it is used, so that no node meets
//! what it cannot open and no application an assertion that it cannot verify; an old one stays for as long as something
//! that it made can be valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tracing::info;
use zeroize::Zeroizing;

use crate::config::Settings;
use crate::config::settings::Algorithm;
use crate::identity::assertion::{SigningError, SigningKey, SigningKeys};
use crate::identity::wrap::{Wrapper, WrongSecret};
use crate::login::scene::{SceneKey, SceneKeys};
use crate::session::seal::{SEALING_NOTICE, SealError, SealingKey, SealingRing};
use crate::store::{KeyKind, KeyRow, NewKey, Store, StoreError};

/// All keys, ready for use. Cheap to clone; all clones change together when the keys are read again.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Seals cookies.
    pub sealing: Arc<SealingRing>,
    /// Makes and checks scenes.
    pub scenes: Arc<SceneKeys>,
    /// Signs assertions.
    pub signing: Arc<SigningKeys>,
    /// [`Store::keys_version`] of what is in use.
    version: Arc<AtomicI64>,
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
    /// Nothing is signed with keys of the installation.
    #[error(
        "identity.algorithm is HS256: each site's assertion_secret signs, there is no signing key to rotate; change the \
         secrets in the configuration, or leave signing out with --kind"
    )]
    NothingSigns,
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
        let keyring = Self {
            sealing: Arc::new(SealingRing::new(Vec::new())),
            scenes: Arc::new(SceneKeys::new(Vec::new())),
            signing: Arc::new(SigningKeys::new(Vec::new())),
            version: Arc::default(),
        };
        keyring.reopen(store, secret, algorithm, now).await?;
        Ok(keyring)
    }

    /// Reads the keys under another secret, and makes one for another algorithm. Every clone has them then: pools and
    /// caches that hold a ring need not be made anew.
    ///
    /// # Errors
    /// See [`KeyringError`]; then the keys are as they were.
    pub async fn reopen(
        &self,
        store: &Store,
        secret: Option<&SecretString>,
        algorithm: Algorithm,
        now: i64,
    ) -> Result<(), KeyringError> {
        let wrapper = secret.map(Wrapper::new).transpose()?;
        let wanted = first_keys(wrapper.as_ref(), algorithm, now)?;
        store.create_first_keys(&wanted).await?;
        let version = store.keys_version().await?;
        let rows = store.keys().await?;
        self.take(&rows, wrapper.as_ref(), now)?;
        self.version.store(version, Ordering::Release);
        if rows.iter().any(|row| row.created_at == now) {
            info!(keys = rows.len(), wrapped = wrapper.is_some(), "keys made");
        }
        Ok(())
    }

    /// Reads the keys if they have changed, which costs one small question; true if they had.
    ///
    /// # Errors
    /// See [`KeyringError`]; then the keys are as they were.
    pub async fn look_again(
        &self,
        store: &Store,
        secret: Option<&SecretString>,
        now: i64,
    ) -> Result<bool, KeyringError> {
        let version = store.keys_version().await?;
        if version == self.version.load(Ordering::Acquire) {
            self.sealing.mark_read(now);
            return Ok(false);
        }
        let wrapper = secret.map(Wrapper::new).transpose()?;
        let rows = store.keys().await?;
        self.take(&rows, wrapper.as_ref(), now)?;
        // Read before the rows: a change in between is found the next time.
        self.version.store(version, Ordering::Release);
        Ok(true)
    }

    fn take(&self, rows: &[KeyRow], wrapper: Option<&Wrapper>, now: i64) -> Result<(), KeyringError> {
        let keys = Keys::read(rows, wrapper)?;
        self.sealing.replace(keys.sealing);
        self.sealing.mark_read(now);
        self.scenes.replace(keys.scenes);
        self.signing.replace(keys.signing);
        Ok(())
    }
}

/// The keys of some rows.
#[derive(Default)]
struct Keys {
    sealing: Vec<SealingKey>,
    scenes: Vec<SceneKey>,
    signing: Vec<SigningKey>,
}

impl Keys {
    fn read(rows: &[KeyRow], wrapper: Option<&Wrapper>) -> Result<Self, KeyringError> {
        let mut keys = Self::default();
        for row in rows {
            let material = open_row(row, wrapper)?;
            let damaged = KeyringError::Damaged { id: row.id };
            match row.kind {
                KeyKind::Sealing => keys.sealing.push(sealing_key(row, &material).ok_or(damaged)?),
                KeyKind::Scene => keys.scenes.push(scene_key(row, &material)),
                KeyKind::Signing => keys.signing.push(signing_key(row, &material).ok_or(damaged)?),
            }
        }
        Ok(keys)
    }
}

/// Whether every one of these rows can be used under this secret.
///
/// # Errors
/// What is wrong with the first that cannot: see [`KeyringError`].
pub fn verify(rows: &[KeyRow], secret: Option<&SecretString>) -> Result<(), KeyringError> {
    let wrapper = secret.map(Wrapper::new).transpose()?;
    Keys::read(rows, wrapper.as_ref()).map(|_| ())
}

/// What applications know a signing key by; `None` for other kinds, and for what does not open under this secret.
#[must_use]
pub fn kid(row: &KeyRow, secret: Option<&SecretString>) -> Option<String> {
    let wrapper = secret.and_then(|secret| Wrapper::new(secret).ok());
    let material = (row.kind == KeyKind::Signing).then(|| open_row(row, wrapper.as_ref()).ok())??;
    Some(signing_key(row, &material)?.kid().to_owned())
}

/// New keys of these kinds, each to come into use when every node and every application has had time to learn of it.
///
/// # Errors
/// [`KeyringError::NothingSigns`] for a signing key where each site has a secret of its own.
pub fn further_keys(
    kinds: &[KeyKind],
    secret: Option<&SecretString>,
    algorithm: Algorithm,
    now: i64,
) -> Result<Vec<NewKey>, KeyringError> {
    let wrapper = secret.map(Wrapper::new).transpose()?;
    let made = |kind: &KeyKind| {
        let active_from = now + notice(*kind);
        Ok(NewKey {
            active_from,
            ..make(*kind, algorithm, wrapper.as_ref(), now)?.ok_or(KeyringError::NothingSigns)?
        })
    };
    kinds.iter().map(made).collect()
}

/// The material of `rows` under `secret`: of those that are clear, or with `former` also of those that it wraps.
///
/// # Errors
/// [`KeyringError::Secret`] when a row opens under neither secret.
pub fn wrapped_anew(
    rows: &[KeyRow],
    former: Option<&SecretString>,
    secret: &SecretString,
) -> Result<Vec<(i64, SecretSlice<u8>)>, KeyringError> {
    let wrapper = Wrapper::new(secret)?;
    let former = former.map(Wrapper::new).transpose()?;
    let mut anew = Vec::new();
    for row in rows {
        if row.wrapped && open_row(row, Some(&wrapper)).is_ok() {
            continue;
        }
        let material = open_row(row, Some(former.as_ref().unwrap_or(&wrapper)))?;
        let label = label(row.kind, row.algorithm.as_deref(), row.created_at);
        anew.push((row.id, SecretSlice::from(wrapper.wrap(&label, &material)?)));
    }
    Ok(anew)
}

/// Forgets keys when nothing that they made can be valid any more.
///
/// # Errors
/// [`StoreError`].
pub async fn sweep(store: &Store, settings: &Settings, now: i64) -> Result<(), StoreError> {
    for kind in [KeyKind::Sealing, KeyKind::Scene, KeyKind::Signing] {
        let swept = store.sweep_keys(kind, now - stays(kind, settings)).await?;
        if swept > 0 {
            info!(kind = kind.as_str(), keys = swept, "old keys forgotten");
        }
    }
    Ok(())
}

/// Seconds for which a key is published before it is used.
#[must_use]
pub const fn notice(kind: KeyKind) -> i64 {
    match kind {
        KeyKind::Sealing | KeyKind::Scene => SEALING_NOTICE,
        // Applications keep the key set for that long: see `Cache-Control` of `jwks.json`.
        KeyKind::Signing => HOUR,
    }
}

/// Seconds for which a key stays after its retirement.
#[must_use]
pub fn stays(kind: KeyKind, settings: &Settings) -> i64 {
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4);
    match kind {
        KeyKind::Sealing => seconds(settings.session.lifetime),
        // Of the longest ticket, and of the time in which an ended one can be asked about.
        KeyKind::Scene => seconds(settings.login.ticket_ttl) * 2 + seconds(settings.login.bind_ttl) + 2 * HOUR,
        KeyKind::Signing => seconds(settings.identity.assertion_ttl) + HOUR,
    }
}

/// One key of each kind that this configuration needs. The store keeps those that it has already.
fn first_keys(wrapper: Option<&Wrapper>, algorithm: Algorithm, now: i64) -> Result<Vec<NewKey>, KeyringError> {
    let kinds = [KeyKind::Sealing, KeyKind::Scene, KeyKind::Signing];
    let made = kinds.map(|kind| make(kind, algorithm, wrapper, now).transpose());
    made.into_iter().flatten().collect()
}

/// A key to be used at once; none for a signing key where nothing is signed with one.
fn make(
    kind: KeyKind,
    algorithm: Algorithm,
    wrapper: Option<&Wrapper>,
    now: i64,
) -> Result<Option<NewKey>, KeyringError> {
    if kind != KeyKind::Signing {
        return new_key(kind, None, &*random()?, wrapper, now).map(Some);
    }
    let Some(name) = jws_name(algorithm) else {
        return Ok(None);
    };
    let material = SigningKey::generate(algorithm).map_err(|_: SigningError| KeyringError::NoRandomness)?;
    new_key(kind, Some(name), &material, wrapper, now).map(Some)
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
    format!("{}/{}/{created_at}", kind.as_str(), algorithm.unwrap_or_default())
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeyringError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| KeyringError::NoRandomness)?;
    Ok(bytes)
}

const HOUR: i64 = 3_600;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

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

    #[tokio::test]
    async fn nodes_find_new_keys_and_nothing_that_was_made_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let secret: SecretString = "s".repeat(43).into();
        let keyring = Keyring::open(&store, Some(&secret), Algorithm::Es256, 100)
            .await
            .unwrap();
        let rings = keyring.clone();
        let (token, scene) = (
            rings.sealing.seal(Purpose::Session, &[], b"x", 100).unwrap(),
            rings.scenes.mint("staff", 100).unwrap(),
        );
        assert!(!keyring.look_again(&store, Some(&secret), 101).await.unwrap());
        let kinds = [KeyKind::Sealing, KeyKind::Scene, KeyKind::Signing];
        let keys = further_keys(&kinds, Some(&secret), Algorithm::Es256, 200).unwrap();
        assert_eq!(
            keys.iter().map(|key| key.active_from).collect::<Vec<_>>(),
            [260, 260, 3_800]
        );
        assert!(keys.iter().all(|key| key.wrapped));
        store.rotate_keys(&keys, 200).await.unwrap();
        assert!(keyring.look_again(&store, Some(&secret), 201).await.unwrap());
        assert!(!keyring.look_again(&store, Some(&secret), 202).await.unwrap());
        assert_eq!(rings.signing.jwks().keys.len(), 2, "the coming key is not published");
        assert!(rings.sealing.open(Purpose::Session, &[], token.as_bytes()).is_some());
        assert!(rings.scenes.check(scene.as_str()).is_ok());
        let other = Keyring::open(&store, Some(&secret), Algorithm::Es256, 203)
            .await
            .unwrap();
        let later = rings.sealing.seal(Purpose::Session, &[], b"x", 260).unwrap();
        assert!(other.sealing.open(Purpose::Session, &[], later.as_bytes()).is_some());
    }

    #[tokio::test]
    async fn a_node_that_cannot_read_new_keys_keeps_those_that_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let keyring = Keyring::open(&store, None, Algorithm::Es256, 100).await.unwrap();
        let token = keyring.sealing.seal(Purpose::Session, &[], b"x", 100).unwrap();
        let secret: SecretString = "s".repeat(43).into();
        let rows = store.keys().await.unwrap();
        let version = store.keys_version().await.unwrap();
        let wrapped = wrapped_anew(&rows, None, &secret).unwrap();
        assert_eq!(wrapped.len(), 3);
        assert!(store.rewrap_keys(version, &wrapped).await.unwrap());
        let looked = keyring.look_again(&store, None, 101).await;
        assert!(matches!(looked, Err(KeyringError::NoSecret)), "{looked:?}");
        assert!(keyring.sealing.open(Purpose::Session, &[], token.as_bytes()).is_some());
        keyring
            .reopen(&store, Some(&secret), Algorithm::Es256, 102)
            .await
            .unwrap();
        assert!(keyring.sealing.open(Purpose::Session, &[], token.as_bytes()).is_some());
        assert_eq!(store.keys().await.unwrap().len(), 3, "keys were made again");
    }

    #[tokio::test]
    async fn keys_move_from_one_secret_to_another() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let (one, two): (SecretString, SecretString) = ("1".repeat(43).into(), "2".repeat(43).into());
        Keyring::open(&store, Some(&one), Algorithm::Es256, 100).await.unwrap();
        let rows = store.keys().await.unwrap();
        let refused = wrapped_anew(&rows, None, &two);
        assert!(matches!(refused, Err(KeyringError::Secret(_))));
        assert!(wrapped_anew(&rows, None, &one).unwrap().is_empty(), "wrapped already");
        let wrapped = wrapped_anew(&rows, Some(&one), &two).unwrap();
        let version = store.keys_version().await.unwrap();
        assert!(store.rewrap_keys(version, &wrapped).await.unwrap());
        let rows = store.keys().await.unwrap();
        verify(&rows, Some(&two)).unwrap();
        assert!(verify(&rows, Some(&one)).is_err());
        assert!(kid(&rows[2], Some(&two)).is_some() && kid(&rows[2], Some(&one)).is_none());
    }

    #[test]
    fn a_signing_key_is_not_made_where_nothing_is_signed_with_it() {
        let made = further_keys(&[KeyKind::Signing], None, Algorithm::Hs256, 100);
        assert!(matches!(made, Err(KeyringError::NothingSigns)));
        assert_eq!(first_keys(None, Algorithm::Hs256, 100).unwrap().len(), 2);
    }
}
