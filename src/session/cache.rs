//! Sessions that this node has opened lately, with the headers that upstreams get.
//!
//! A hit costs one hash of the cookie and one lookup; a miss costs one AEAD opening and no store. The cache is never the
//! only copy: what is evicted comes back from the cookie. Keys cover the host, because a cookie is good for one host.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::session::cached::{CachedSession, Standing};
use crate::session::revocation::Revocations;
use crate::session::seal::SealingRing;
use crate::session::token::{Limits, Session};

/// Opened sessions by cookie and host.
#[derive(Debug)]
pub struct SessionCache {
    entries: Cache<Key, Arc<CachedSession>, Bytes, BuildHasherDefault<Unchanged>>,
    swept_at: AtomicI64,
}

/// Half of a SHA-256. Who wants to be taken for another finds a second cookie with the same 128 bits, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key([u8; 16]);

#[derive(Debug, Clone)]
struct Bytes;

/// What is a hash already.
#[derive(Debug, Default)]
struct Unchanged(u64);

/// What became of a cookie.
#[derive(Debug, Clone)]
pub enum Found {
    /// It holds.
    Live(Arc<CachedSession>),
    /// It holds, but what it says about the person must be read from the directory first.
    Outdated(Box<Session>),
    /// Forged, foreign, expired or revoked: to be cleared.
    Dead,
}

impl SessionCache {
    /// Room for so many bytes; a session takes less than a kilobyte.
    pub fn new(bytes: u64) -> Self {
        let sessions = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        Self {
            entries: Cache::with(
                sessions,
                bytes,
                Bytes,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
            swept_at: AtomicI64::new(i64::MIN),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets, every few minutes, what was not asked for since the last time: its assertion is over, and to open the
    /// cookie again costs a tenth of signing the next.
    pub fn sweep(&self, now: i64) {
        if now.saturating_sub(self.swept_at.load(Ordering::Relaxed)) >= SWEEP_EVERY {
            self.swept_at.store(now, Ordering::Relaxed);
            self.entries.retain(|_, entry| entry.was_touched());
        }
    }

    /// Opens a cookie, or remembers that it did.
    #[allow(clippy::too_many_arguments)] // Two of a kind each; a struct for one caller would only rename them.
    pub fn find(
        &self,
        ring: &SealingRing,
        revocations: &Revocations,
        limits: Limits,
        name: &str,
        host: &str,
        cookie: &[u8],
        now: i64,
    ) -> Found {
        let key = Key::of(host, cookie);
        let entry = match self.entries.get(&key) {
            Some(entry) => {
                entry.touch();
                entry
            }
            None => {
                let Some(session) = Session::open(ring, name, host, cookie) else {
                    return Found::Dead;
                };
                let entry = Arc::new(CachedSession::new(session));
                if entry.session.is_live(limits, now) && !entry.session.groups_left_out {
                    self.entries.insert(key, Arc::clone(&entry));
                }
                entry
            }
        };
        let standing = if entry.session.is_live(limits, now) {
            entry.check(revocations)
        } else {
            Standing::Dead
        };
        match standing {
            Standing::Good if !entry.session.groups_left_out => Found::Live(entry),
            Standing::Good | Standing::Outdated => Found::Outdated(Box::new(entry.session.clone())),
            Standing::Dead => {
                self.entries.remove(&key);
                Found::Dead
            }
        }
    }

    /// Puts a session with a person as read at `known_at` in the place of the one that the cookie gave.
    pub fn refresh(&self, host: &str, cookie: &[u8], session: Session, known_at: i64) -> Arc<CachedSession> {
        let entry = Arc::new(CachedSession::new(Session {
            groups_left_out: false,
            known_at,
            ..session
        }));
        self.entries.insert(Key::of(host, cookie), Arc::clone(&entry));
        entry
    }
}

impl Key {
    fn of(host: &str, cookie: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(host.as_bytes());
        context.update(&[0]);
        context.update(cookie);
        let mut key = [0_u8; 16];
        key.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(key)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Hasher for Unchanged {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Weighter<Key, Arc<CachedSession>> for Bytes {
    fn weight(&self, _: &Key, session: &Arc<CachedSession>) -> u64 {
        (session.weight() + PLACE) as u64
    }
}

/// In the table and the list of the cache, and what an `Arc` counts with.
const PLACE: usize = 80;
/// Of a person with a name, a number and two groups.
const USUAL_BYTES: u64 = 850;
/// Seconds; twice the half of an assertion's usual life.
const SWEEP_EVERY: i64 = 300;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::identity::person::{Authentication, Method, Person};
    use crate::session::revocation::Revoked;
    use crate::session::seal::SealingKey;
    use crate::session::token::SessionId;

    const LIMITS: Limits = Limits {
        lifetime: 1_000,
        idle_timeout: 100,
    };

    struct Fixture {
        ring: SealingRing,
        revocations: Revocations,
        cache: SessionCache,
        session: Session,
        cookie: String,
    }

    fn fixture() -> Fixture {
        let ring = SealingRing::new(vec![SealingKey::new(1, 0, &[1; 32]).unwrap()]);
        let session = Session {
            id: SessionId::random().unwrap(),
            person: Person {
                id: "u_1".into(),
                ..Person::default()
            },
            authentication: Authentication {
                connection: "staff".into(),
                method: Method::MiniProgram,
                time: 0,
                app_id: String::new(),
                openid: String::new(),
                unionid: None,
            },
            expires_at: 1_000,
            renewed_at: 0,
            groups_left_out: false,
            known_at: 0,
        };
        let cookie = session.seal(&ring, "menshen", "a.example", 0).unwrap();
        Fixture {
            ring,
            revocations: Revocations::default(),
            cache: SessionCache::new(1 << 20),
            session,
            cookie,
        }
    }

    impl Fixture {
        fn find(&self, host: &str, now: i64) -> Option<Arc<CachedSession>> {
            let cookie = self.cookie.as_bytes();
            match self
                .cache
                .find(&self.ring, &self.revocations, LIMITS, "menshen", host, cookie, now)
            {
                Found::Live(session) => Some(session),
                Found::Outdated(_) => panic!("outdated"),
                Found::Dead => None,
            }
        }
    }

    #[test]
    fn second_look_gives_the_same_entry() {
        let fixture = fixture();
        let (one, two) = (
            fixture.find("a.example", 1).unwrap(),
            fixture.find("a.example", 2).unwrap(),
        );
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(one.session, fixture.session);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_and_what_somebody_does_is_not() {
        let fixture = fixture();
        let first = fixture.find("a.example", 1).unwrap();
        fixture.cache.sweep(1_000);
        assert!(Arc::ptr_eq(&first, &fixture.find("a.example", 2).unwrap()));
        // Too early to look again.
        fixture.cache.sweep(1_000 + SWEEP_EVERY - 1);
        fixture.cache.sweep(1_000 + SWEEP_EVERY);
        assert_eq!(fixture.cache.len(), 1, "it was asked for");
        fixture.cache.sweep(1_000 + 2 * SWEEP_EVERY);
        assert!(fixture.cache.is_empty());
        assert!(fixture.find("a.example", 3).is_some(), "it comes back from its cookie");
    }

    #[test]
    fn what_is_cached_keeps_within_its_bytes() {
        let fixture = fixture();
        let cache = SessionCache::new(100 * USUAL_BYTES);
        for _ in 0..1_000 {
            let session = Session {
                id: SessionId::random().unwrap(),
                ..fixture.session.clone()
            };
            let cookie = session.seal(&fixture.ring, "menshen", "a.example", 0).unwrap();
            let cookie = cookie.as_bytes();
            let found = cache.find(
                &fixture.ring,
                &fixture.revocations,
                LIMITS,
                "menshen",
                "a.example",
                cookie,
                1,
            );
            assert!(matches!(found, Found::Live(_)));
        }
        assert!((50..200).contains(&cache.len()), "{}", cache.len());
    }

    #[test]
    fn cached_session_of_one_host_is_dead_on_another() {
        let fixture = fixture();
        assert!(fixture.find("a.example", 1).is_some());
        assert!(fixture.find("b.example", 1).is_none());
    }

    #[test]
    fn cached_session_ends_on_time() {
        let fixture = fixture();
        assert!(fixture.find("a.example", 99).is_some());
        assert!(fixture.find("a.example", 100).is_none());
    }

    #[test]
    fn cached_session_ends_when_it_is_revoked() {
        let fixture = fixture();
        assert!(fixture.find("a.example", 1).is_some());
        fixture
            .revocations
            .add(Revoked::Session(SessionId::random().unwrap()), 2_000);
        assert!(fixture.find("a.example", 1).is_some());
        fixture.revocations.add(Revoked::Session(fixture.session.id), 2_000);
        assert!(fixture.find("a.example", 1).is_none());
        assert!(fixture.find("a.example", 1).is_none());
    }

    #[test]
    fn changed_person_is_read_anew_once() {
        let fixture = fixture();
        assert!(fixture.find("a.example", 1).is_some());
        fixture.revocations.add(
            Revoked::ClaimsOf {
                user: "u_1".into(),
                until: 5,
            },
            2_000,
        );
        let cookie = fixture.cookie.as_bytes();
        let find = || {
            fixture.cache.find(
                &fixture.ring,
                &fixture.revocations,
                LIMITS,
                "menshen",
                "a.example",
                cookie,
                12,
            )
        };
        let Found::Outdated(session) = find() else {
            panic!("not outdated")
        };
        let person = Person {
            name: Some("new".into()),
            ..session.person.clone()
        };
        fixture
            .cache
            .refresh("a.example", cookie, Session { person, ..*session }, 11);
        let Found::Live(entry) = find() else { panic!("not live") };
        assert_eq!(entry.session.person.name.as_deref(), Some("new"));
    }
}
