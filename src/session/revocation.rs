//! What was revoked, and how fresh this node's knowledge of it is.
//!
//! Every node holds the live revocations in memory and reads what is new at least every `revocation_delay`, so that a
//! request asks no store. Until the first reading, and when the last one is older than the outage limit, no session is
//! served at all: a node that does not know is closed. Reads take one atomic load while nothing changed since the entry
//! was checked, else one uncontended lock on one of sixteen shards.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::session::token::{CLOCK_TOLERANCE, Session, SessionId};

/// The revocations that this node knows.
#[derive(Debug)]
pub struct Revocations {
    sessions: Shards<SessionId>,
    users: Shards<String>,
    changes: Shards<String>,
    epoch: AtomicU64,
    read_at: AtomicI64,
}

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// One session.
    Session(SessionId),
    /// All sessions of a user that began before or at this time (Unix seconds).
    SessionsOf {
        /// User id.
        user: String,
        /// Unix seconds.
        until: i64,
    },
    /// What cookies say about a user that was sealed before or at this time (Unix seconds).
    ClaimsOf {
        /// User id.
        user: String,
        /// Unix seconds.
        until: i64,
    },
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            sessions: Shards::default(),
            users: Shards::default(),
            changes: Shards::default(),
            epoch: AtomicU64::new(0),
            read_at: AtomicI64::new(NEVER),
        }
    }
}

impl Revocations {
    /// Takes note; forgotten after `keep_until` (Unix seconds), when the cookie would have ended anyhow.
    pub fn add(&self, revoked: Revoked, keep_until: i64) {
        match revoked {
            Revoked::Session(id) => self.sessions.insert(id, (i64::MAX, keep_until)),
            Revoked::SessionsOf { user, until } => self.users.insert(user, (until, keep_until)),
            Revoked::ClaimsOf { user, until } => self.changes.insert(user, (until, keep_until)),
        }
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// The store was read completely at `now`.
    pub fn mark_read(&self, now: i64) {
        self.read_at.fetch_max(now, Ordering::AcqRel);
    }

    /// Whether this node may serve sessions: it has read the revocations, not longer ago than `tolerance` seconds.
    pub fn is_fresh(&self, tolerance: i64, now: i64) -> bool {
        now.saturating_sub(self.read_at.load(Ordering::Acquire)) <= tolerance
    }

    /// Changes whenever something is revoked. An entry that was checked at this epoch need not be looked up again.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether this session was ended before its time.
    pub fn covers(&self, session: &Session) -> bool {
        self.sessions.get(&session.id).is_some()
            || self
                .users
                .get(&session.person.id)
                .is_some_and(|until| session.authentication.time <= until)
    }

    /// Whether this very session, or what is named like one, was ended.
    pub fn names(&self, id: &SessionId) -> bool {
        self.sessions.get(id).is_some()
    }

    /// When all sessions of a user were last ended, in Unix seconds.
    pub fn all_ended_at(&self, user: &str) -> Option<i64> {
        self.users.get(user)
    }

    /// Whether all sessions of the person were ended after what is known of them was read, or shortly before, by another
    /// clock. What is no session of theirs must be read anew then.
    pub fn unsettles(&self, session: &Session) -> bool {
        self.users
            .get(&session.person.id)
            .is_some_and(|until| session.known_at <= until.saturating_add(CLOCK_TOLERANCE))
    }

    /// Whether what a session says about its person may be older than the last change. Nodes' clocks differ, so that
    /// what was read shortly after a change, by another clock, is read once more.
    pub fn outdates(&self, session: &Session) -> bool {
        self.changes
            .get(&session.person.id)
            .is_some_and(|until| session.known_at <= until.saturating_add(CLOCK_TOLERANCE))
    }

    /// Whether what is known of a person has changed after `since` (Unix seconds).
    pub fn changed_since(&self, session: &Session, since: i64) -> bool {
        self.changes.get(&session.person.id).is_some_and(|at| at > since)
    }

    /// Drops what no cookie can outlive.
    pub fn sweep(&self, now: i64) {
        self.sessions.sweep(now);
        self.users.sweep(now);
        self.changes.sweep(now);
    }
}

/// Key → (until, keep until).
#[derive(Debug)]
struct Shards<K> {
    shards: [RwLock<HashMap<K, (i64, i64)>>; 16],
    hasher: RandomState,
}

impl<K> Default for Shards<K> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Hash + Eq> Shards<K> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, (i64, i64)>> {
        // The remainder is below sixteen.
        #[allow(clippy::cast_possible_truncation)]
        let at = (self.hasher.hash_one(key) % 16) as usize;
        &self.shards[at]
    }

    fn insert(&self, key: K, (until, keep_until): (i64, i64)) {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.entry(key).or_insert((until, keep_until));
        *entry = (entry.0.max(until), entry.1.max(keep_until));
    }

    fn get<Q>(&self, key: &Q) -> Option<i64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .map(|(until, _)| *until)
    }

    fn sweep(&self, now: i64) {
        for shard in &self.shards {
            shard
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|_, (_, keep_until)| *keep_until > now);
        }
    }
}

/// Far enough in the past for any tolerance.
const NEVER: i64 = i64::MIN / 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::person::{Authentication, Method, Person};

    fn session(user: &str, time: i64) -> Session {
        Session {
            id: SessionId::random().unwrap(),
            person: Person {
                id: user.into(),
                ..Person::default()
            },
            authentication: Authentication {
                connection: "staff".into(),
                method: Method::MiniProgram,
                time,
                app_id: String::new(),
                openid: String::new(),
                unionid: None,
            },
            expires_at: 1_000,
            renewed_at: 0,
            groups_left_out: false,
            known_at: time,
        }
    }

    #[test]
    fn revoked_session_is_covered_and_its_neighbour_is_not() {
        let revocations = Revocations::default();
        let (one, two) = (session("u_1", 5), session("u_1", 5));
        let epoch = revocations.epoch();
        revocations.add(Revoked::Session(one.id), 100);
        assert_ne!(revocations.epoch(), epoch);
        assert!(revocations.covers(&one));
        assert!(!revocations.covers(&two));
    }

    #[test]
    fn all_sessions_of_a_user_end_but_not_the_next_login() {
        let revocations = Revocations::default();
        revocations.add(
            Revoked::SessionsOf {
                user: "u_1".into(),
                until: 10,
            },
            100,
        );
        assert!(revocations.covers(&session("u_1", 10)));
        assert!(!revocations.covers(&session("u_1", 11)));
        assert!(!revocations.covers(&session("u_2", 10)));
    }

    #[test]
    fn change_of_a_person_outdates_what_was_known_before_and_ends_nothing() {
        let revocations = Revocations::default();
        let one = session("u_1", 5);
        revocations.add(
            Revoked::ClaimsOf {
                user: "u_1".into(),
                until: 10,
            },
            100,
        );
        assert!(!revocations.covers(&one));
        let known = |user: &str, known_at| Session {
            known_at,
            ..session(user, 5)
        };
        for (user, known_at, outdated) in [
            ("u_1", 5, true),
            ("u_1", 10, true),
            ("u_1", 15, true),
            ("u_1", 16, false),
            ("u_2", 5, false),
        ] {
            assert_eq!(
                revocations.outdates(&known(user, known_at)),
                outdated,
                "{user} {known_at}"
            );
        }
        // A node that had not heard of the change renewed the cookie long after it.
        let renewed = Session {
            renewed_at: 500,
            ..known("u_1", 9)
        };
        assert!(revocations.outdates(&renewed));
    }

    #[test]
    fn an_earlier_revocation_does_not_shorten_a_later_one() {
        let revocations = Revocations::default();
        revocations.add(
            Revoked::SessionsOf {
                user: "u_1".into(),
                until: 10,
            },
            100,
        );
        revocations.add(
            Revoked::SessionsOf {
                user: "u_1".into(),
                until: 5,
            },
            50,
        );
        revocations.sweep(60);
        assert!(revocations.covers(&session("u_1", 10)));
    }

    #[test]
    fn node_that_never_read_is_not_fresh() {
        let revocations = Revocations::default();
        assert!(!revocations.is_fresh(i64::from(u32::MAX), 1_700_000_000));
        revocations.mark_read(100);
        assert!(revocations.is_fresh(30, 130));
        assert!(!revocations.is_fresh(30, 131));
    }

    #[test]
    fn forgotten_when_the_cookie_has_ended() {
        let revocations = Revocations::default();
        let one = session("u_1", 5);
        revocations.add(Revoked::Session(one.id), 100);
        revocations.sweep(99);
        assert!(revocations.covers(&one));
        revocations.sweep(100);
        assert!(!revocations.covers(&one));
    }
}
