//! Sessions that this node has opened lately, with the headers that upstreams get.
//!
//! A hit costs one hash of the cookie and one lookup; a miss costs one AEAD opening and no store. The cache is never the
//! only copy: what is evicted comes back from the cookie. Keys cover the host, because a cookie is good for one host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};

use crate::identity::assertion::{SigningError, SigningKeys};
use crate::identity::outgoing::{Outgoing, SitePlan};
use crate::session::revocation::Revocations;
use crate::session::seal::SealingRing;
use crate::session::token::{Limits, Session, SessionId};

/// Opened sessions by cookie and host.
#[derive(Debug)]
pub struct SessionCache {
    entries: moka::sync::Cache<[u8; 32], Arc<CachedSession>>,
}

/// One opened session.
#[derive(Debug)]
pub struct CachedSession {
    /// What the cookie says.
    pub session: Session,
    /// `sid` of assertions.
    pub sid: String,
    /// It came by a bearer token, not by a cookie.
    pub bearer: Option<Bearer>,
    checked: AtomicU64,
    used: AtomicBool,
    outgoing: ArcSwap<Vec<Prepared>>,
}

/// What a bearer token has besides what every session has.
#[derive(Debug)]
pub struct Bearer {
    /// Row in the store.
    pub id: String,
    /// By what revocations name it.
    pub revoked_as: SessionId,
    /// Audiences of the sites that it is for; `None`: every site.
    pub sites: Option<Vec<String>>,
    /// A login gave it, so that it ends with the session of that login.
    pub of_login: bool,
    /// The last end of all sessions of its user that was known before the user was read, in Unix seconds.
    pub settled: Option<i64>,
    /// The last use that was noted, in Unix seconds.
    pub(super) noted: AtomicI64,
}

/// Headers for one site under one generation of the settings.
#[derive(Debug, Clone)]
struct Prepared {
    site: usize,
    generation: u64,
    outgoing: Arc<Outgoing>,
}

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
    /// Room for `capacity` sessions; each takes about a kilobyte.
    pub fn new(capacity: u64) -> Self {
        Self {
            entries: moka::sync::Cache::builder().max_capacity(capacity).build(),
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
        let key = key(host, cookie);
        let entry = match self.entries.get(&key) {
            Some(entry) => entry,
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
                self.entries.invalidate(&key);
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
        self.entries.insert(key(host, cookie), Arc::clone(&entry));
        entry
    }
}

impl CachedSession {
    /// Around an opened session.
    pub fn new(session: Session) -> Self {
        Self::of(session, None)
    }

    /// Around what a bearer token stands for.
    pub fn of_token(session: Session, bearer: Bearer) -> Self {
        Self::of(session, Some(bearer))
    }

    fn of(session: Session, bearer: Option<Bearer>) -> Self {
        let sid = session.id.public();
        Self {
            session,
            sid,
            bearer,
            checked: AtomicU64::new(u64::MAX),
            used: AtomicBool::new(false),
            outgoing: ArcSwap::default(),
        }
    }

    /// The headers for a site: built once, signed anew after half of the assertion's life.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn outgoing(
        &self,
        site: usize,
        generation: u64,
        plan: &SitePlan,
        keys: &SigningKeys,
        now: i64,
    ) -> Result<Arc<Outgoing>, SigningError> {
        let prepared = self.outgoing.load();
        let fits = |prepared: &&Prepared| prepared.site == site && prepared.generation == generation;
        if let Some(found) = prepared.iter().find(fits)
            && now < found.outgoing.refresh_at
        {
            return Ok(Arc::clone(&found.outgoing));
        }
        let outgoing =
            Arc::new(plan.build(keys, &self.session.person, &self.session.authentication, &self.sid, now)?);
        let mut next: Vec<Prepared> = prepared
            .iter()
            .filter(|other| other.generation == generation && other.site != site)
            .cloned()
            .collect();
        next.push(Prepared {
            site,
            generation,
            outgoing: Arc::clone(&outgoing),
        });
        // Two requests may sign at once; the later one stays, and both assertions are good.
        self.outgoing.store(Arc::new(next));
        Ok(outgoing)
    }

    /// True once: for the first request that brings this cookie.
    pub fn is_first_use(&self) -> bool {
        // Read first: a write by every request would have all cores fight for one line.
        !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::Relaxed)
    }

    /// Whether what was admitted by it must end now, though its time is not over.
    pub fn is_over(&self, revocations: &Revocations) -> bool {
        match self.revoked(revocations) {
            Standing::Good => false,
            Standing::Dead => true,
            // What is known of a person can be read anew; what a token is worth then is for its next request.
            Standing::Outdated => self.bearer.as_ref().is_some_and(|bearer| {
                !bearer.of_login && revocations.all_ended_at(&self.session.person.id) > bearer.settled
            }),
        }
    }

    pub(super) fn check(&self, revocations: &Revocations) -> Standing {
        // Read before the lookup: a revocation that comes in between raises the epoch and is seen the next time.
        let epoch = revocations.epoch();
        if self.checked.load(Ordering::Acquire) == epoch {
            return Standing::Good;
        }
        let standing = self.revoked(revocations);
        if matches!(standing, Standing::Good) {
            self.checked.store(epoch, Ordering::Release);
        }
        standing
    }

    fn revoked(&self, revocations: &Revocations) -> Standing {
        let session = &self.session;
        let (dead, unsettled) = match &self.bearer {
            None => (revocations.covers(session), false),
            Some(bearer) if bearer.of_login => (
                revocations.names(&bearer.revoked_as) || revocations.covers(session),
                false,
            ),
            // An operator handed it out: the end of all logins of its user is not its end, but the user's may be.
            Some(bearer) => (revocations.names(&bearer.revoked_as), revocations.unsettles(session)),
        };
        match dead {
            true => Standing::Dead,
            false if unsettled || revocations.outdates(session) => Standing::Outdated,
            false => Standing::Good,
        }
    }
}

pub(super) enum Standing {
    Good,
    Outdated,
    Dead,
}

fn key(host: &str, cookie: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(host.as_bytes());
    context.update(&[0]);
    context.update(cookie);
    let mut key = [0_u8; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

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
            cache: SessionCache::new(100),
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
