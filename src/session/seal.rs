//! Sealed tokens: what a cookie carries so that only this installation can read or make it.
//!
//! AES-256-GCM with a random nonce. Each purpose has a key of its own (HKDF from the ring's secret), and purpose and
//! context (for cookies: name and host) are associated data, so that a token sealed for one use opens for no other
//! (mod_auth_openidc CVE-2021-32791, Envoy CVE-2023-35941). The trade-off: 48 bytes of overhead before base64, and no
//! compression, which would have to happen before authentication (CVE-2024-28122 and its class).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// What a token is for. The discriminant is on the wire of the associated data: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The session cookie.
    Session = 1,
    /// The browser's half of a ticket.
    Ticket = 2,
    /// Who signed in here last.
    LastUser = 3,
    /// An application's ticket.
    AppTicket = 4,
    /// The browser's half of a ticket on its way through WeChat.
    CarriedHalf = 5,
    /// Who opened a service account's link.
    Opener = 6,
}

/// The sealing keys, newest last. Cheap to share; replaced as a whole when keys are read again.
#[derive(Debug)]
pub struct SealingRing {
    keys: ArcSwap<Vec<SealingKey>>,
    /// When it was last known that there is no other key, in Unix seconds.
    read_at: AtomicI64,
}

/// One key of the ring.
pub struct SealingKey {
    id: u32,
    active_from: i64,
    by_purpose: [RandomizedNonceKey; PURPOSES.len()],
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no sealing key is active, or the cipher failed")]
pub struct SealError;

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey")
            .field("id", &self.id)
            .field("active_from", &self.active_from)
            .finish()
    }
}

impl SealingRing {
    /// A ring of these keys; they are sorted by the time from which they seal.
    pub fn new(keys: Vec<SealingKey>) -> Self {
        let ring = Self {
            keys: ArcSwap::default(),
            read_at: AtomicI64::new(i64::MIN),
        };
        ring.replace(keys);
        ring
    }

    /// Takes new keys into use at once.
    pub fn replace(&self, mut keys: Vec<SealingKey>) {
        keys.sort_by_key(|key| (key.active_from, key.id));
        self.keys.store(Arc::new(keys));
    }

    /// The keys were read completely at `now` (Unix seconds).
    pub fn mark_read(&self, now: i64) {
        self.read_at.fetch_max(now, Ordering::AcqRel);
    }

    /// Whether a token that does not open may be sealed with a key that this node has not heard of: it names an unknown
    /// key, and the keys were last read so long ago that a newer one may be in use elsewhere.
    pub fn may_be_newer(&self, token: &[u8], now: i64) -> bool {
        if token.len() > MAX_TOKEN || now.saturating_sub(self.read_at.load(Ordering::Acquire)) < SEALING_NOTICE {
            return false;
        }
        let id = URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .filter(|bytes| bytes.first() == Some(&VERSION))
            .and_then(|bytes| {
                bytes
                    .get(1..5)
                    .and_then(|id| id.try_into().ok().map(u32::from_be_bytes))
            });
        id.is_some_and(|id| self.keys.load().iter().all(|key| key.id < id))
    }

    /// Seals `plaintext`: base64url without padding.
    ///
    /// # Errors
    /// Only when no key is active yet at `now` (Unix seconds).
    pub fn seal(&self, purpose: Purpose, context: &[&str], plaintext: &[u8], now: i64) -> Result<String, SealError> {
        let keys = self.keys.load();
        let key = keys.iter().rev().find(|key| key.active_from <= now).ok_or(SealError)?;
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let aad = associated_data(purpose, context);
        let nonce = key
            .of(purpose)
            .seal_in_place_append_tag(Aad::from(&aad), &mut *sealed)
            .map_err(|_| SealError)?;
        let mut token = Vec::with_capacity(HEADER_LEN + sealed.len());
        token.push(VERSION);
        token.extend_from_slice(&key.id.to_be_bytes());
        token.extend_from_slice(nonce.as_ref());
        token.extend_from_slice(&sealed);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Opens a token made for the same purpose and context. `None` for everything else, without a reason: there is no
    /// oracle to ask.
    pub fn open(&self, purpose: Purpose, context: &[&str], token: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (header, body) = bytes.split_at_checked(HEADER_LEN)?;
        let (version, header) = header.split_first()?;
        let (id, nonce) = header.split_first_chunk::<4>()?;
        if *version != VERSION {
            return None;
        }
        let id = u32::from_be_bytes(*id);
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = associated_data(purpose, context);
        let mut body = Zeroizing::new(body.to_vec());
        let length = key
            .of(purpose)
            .open_in_place(nonce, Aad::from(&aad), &mut body)
            .ok()?
            .len();
        body.truncate(length);
        Some(body)
    }
}

impl SealingKey {
    /// A key from 32 secret bytes, sealing from `active_from` (Unix seconds) on.
    ///
    /// # Errors
    /// When the cipher library refuses the derived key, which it does for no 32 bytes.
    pub fn new(id: u32, active_from: i64, secret: &[u8; 32]) -> Result<Self, SealError> {
        let derive = |purpose: Purpose| -> Result<RandomizedNonceKey, SealError> {
            let mut key = Zeroizing::new([0_u8; 32]);
            Salt::new(HKDF_SHA256, b"menshen/seal")
                .extract(secret)
                .expand(&[b"purpose", &[purpose as u8]], KeyLength)
                .and_then(|okm| okm.fill(&mut *key))
                .map_err(|_| SealError)?;
            RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| SealError)
        };
        Ok(Self {
            id,
            active_from,
            by_purpose: [
                derive(PURPOSES[0])?,
                derive(PURPOSES[1])?,
                derive(PURPOSES[2])?,
                derive(PURPOSES[3])?,
                derive(PURPOSES[4])?,
                derive(PURPOSES[5])?,
            ],
        })
    }

    fn of(&self, purpose: Purpose) -> &RandomizedNonceKey {
        &self.by_purpose[purpose as usize - 1]
    }
}

/// Length-delimited, so that no two (purpose, context) pairs give the same bytes.
fn associated_data(purpose: Purpose, context: &[&str]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(64);
    aad.extend_from_slice(&[VERSION, purpose as u8]);
    for part in context {
        aad.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

const PURPOSES: [Purpose; 6] = [
    Purpose::Session,
    Purpose::Ticket,
    Purpose::LastUser,
    Purpose::AppTicket,
    Purpose::CarriedHalf,
    Purpose::Opener,
];
/// Seconds for which a sealing key is published before it seals: every node has read it by then.
pub const SEALING_NOTICE: i64 = 60;
const VERSION: u8 = 1;
/// Version, key id, nonce.
const HEADER_LEN: usize = 1 + 4 + NONCE_LEN;
/// Longer than any cookie that a browser keeps.
const MAX_TOKEN: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn ring() -> SealingRing {
        SealingRing::new(vec![SealingKey::new(7, 0, &[9; 32]).unwrap()])
    }

    #[test]
    fn token_opens_only_for_its_purpose_and_context() {
        let ring = ring();
        let token = ring
            .seal(Purpose::Session, &["menshen", "a.example"], b"hello", 10)
            .unwrap();
        let open = |purpose, context: &[&str]| ring.open(purpose, context, token.as_bytes()).map(|text| text.to_vec());
        assert_eq!(open(Purpose::Session, &["menshen", "a.example"]).unwrap(), b"hello");
        assert!(open(Purpose::Ticket, &["menshen", "a.example"]).is_none());
        assert!(open(Purpose::Session, &["menshen", "b.example"]).is_none());
        assert!(open(Purpose::Session, &["menshena", ".example"]).is_none());
        assert!(open(Purpose::Session, &["menshen"]).is_none());
    }

    #[test]
    fn old_key_opens_and_the_newest_active_key_seals() {
        let old = SealingRing::new(vec![SealingKey::new(1, 0, &[1; 32]).unwrap()]);
        let token = old.seal(Purpose::Session, &[], b"x", 0).unwrap();
        let ring = SealingRing::new(vec![
            SealingKey::new(3, 500, &[3; 32]).unwrap(),
            SealingKey::new(1, 0, &[1; 32]).unwrap(),
            SealingKey::new(2, 100, &[2; 32]).unwrap(),
        ]);
        assert!(ring.open(Purpose::Session, &[], token.as_bytes()).is_some());
        let sealed_at = |now| {
            let token = ring.seal(Purpose::Session, &[], b"x", now).unwrap();
            URL_SAFE_NO_PAD.decode(token).unwrap()[4]
        };
        assert_eq!((sealed_at(99), sealed_at(100), sealed_at(500)), (1, 2, 3));
    }

    #[test]
    fn nothing_is_sealed_before_the_first_key_is_active() {
        let ring = SealingRing::new(vec![SealingKey::new(1, 50, &[1; 32]).unwrap()]);
        assert!(ring.seal(Purpose::Session, &[], b"x", 49).is_err());
    }

    #[test]
    fn a_node_that_has_not_read_the_keys_for_long_does_not_take_a_newer_key_for_a_forgery() {
        let newer = SealingRing::new(vec![SealingKey::new(8, 0, &[8; 32]).unwrap()]);
        let token = newer.seal(Purpose::Session, &[], b"x", 0).unwrap();
        let ring = ring();
        ring.mark_read(1_000);
        let may_be = |token: &str, now| ring.may_be_newer(token.as_bytes(), now);
        assert!(!may_be(&token, 1_059));
        assert!(may_be(&token, 1_060));
        let own = ring.seal(Purpose::Session, &[], b"x", 0).unwrap();
        let older = SealingRing::new(vec![SealingKey::new(6, 0, &[6; 32]).unwrap()]);
        let older = older.seal(Purpose::Session, &[], b"x", 0).unwrap();
        for token in [&*own, &older, "", "AQ", "no base64!", &"A".repeat(5_000)] {
            assert!(!may_be(token, 9_000), "{token}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_closes_the_token(text in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
            let ring = ring();
            let token = ring.seal(Purpose::Ticket, &["c"], &text, 0).unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(ring.open(Purpose::Ticket, &["c"], URL_SAFE_NO_PAD.encode(bytes).as_bytes()).is_none());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(token in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(ring().open(Purpose::Session, &["a"], &token).is_none());
        }

        #[test]
        fn what_was_sealed_is_opened(text in proptest::collection::vec(any::<u8>(), 0..2000), host in "[a-z.]{1,40}") {
            let ring = ring();
            let token = ring.seal(Purpose::Ticket, &["c", &host], &text, 0).unwrap();
            let opened = ring.open(Purpose::Ticket, &["c", &host], token.as_bytes()).unwrap();
            prop_assert_eq!(&*opened, &text);
        }
    }
}
