//! One session in memory: what its cookie or token says, how it stands, and the headers that upstreams get.
//!
//! Headers with their assertion take more room than the session, and nobody needs them between two bursts of requests.
//! So of most sessions only the signature is kept: what is built anew from it costs a tenth of signing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use crate::identity::assertion::{Assertion, SigningError, SigningKeys};
use crate::identity::outgoing::{Outgoing, SitePlan};
use crate::session::revocation::Revocations;
use crate::session::token::{Session, SessionId};

/// One opened session.
#[derive(Debug)]
pub struct CachedSession {
    /// What the cookie says.
    pub session: Session,
    /// It came by a bearer token, not by a cookie.
    pub bearer: Option<Box<Bearer>>,
    checked: AtomicU64,
    used: AtomicBool,
    /// Since the last sweep.
    touched: AtomicBool,
    prepared: ArcSwapOption<Vec<Prepared>>,
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

/// What one site gets under one generation of the settings.
#[derive(Debug, Clone)]
struct Prepared {
    site: usize,
    generation: u64,
    /// Unix seconds.
    refresh_at: i64,
    assertion: Arc<Assertion>,
    /// Of sessions that were used last.
    outgoing: Option<Arc<Outgoing>>,
}

/// The sessions whose headers are in memory as they are sent, in the order in which that was done.
///
/// A page and what belongs to it come in a burst of some seconds, and the next page much later. There is room for more
/// bursts than a node has at a time; whoever comes later has the headers built anew.
#[derive(Debug)]
pub struct Ready {
    room: usize,
    sessions: Mutex<VecDeque<Weak<CachedSession>>>,
}

impl CachedSession {
    /// Around an opened session.
    pub fn new(session: Session) -> Self {
        Self::of(session, None)
    }

    /// Around what a bearer token stands for.
    pub fn of_token(session: Session, bearer: Bearer) -> Self {
        Self::of(session, Some(Box::new(bearer)))
    }

    fn of(session: Session, bearer: Option<Box<Bearer>>) -> Self {
        Self {
            session,
            bearer,
            checked: AtomicU64::new(u64::MAX),
            used: AtomicBool::new(false),
            touched: AtomicBool::new(true),
            prepared: ArcSwapOption::empty(),
        }
    }

    /// The headers for a site. The assertion is signed once, and anew after half of its life.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn outgoing(
        self: &Arc<Self>,
        ready: &Ready,
        site: usize,
        generation: u64,
        plan: &SitePlan,
        keys: &SigningKeys,
        now: i64,
    ) -> Result<Arc<Outgoing>, SigningError> {
        let prepared = self.prepared.load();
        let prepared = prepared.as_ref().map_or(&[][..], |prepared| prepared);
        let fits = |prepared: &&Prepared| prepared.site == site && prepared.generation == generation;
        let found = prepared.iter().find(fits).filter(|found| now < found.refresh_at);
        if let Some(outgoing) = found.and_then(|found| found.outgoing.as_ref()) {
            return Ok(Arc::clone(outgoing));
        }
        let (person, authentication) = (&self.session.person, &self.session.authentication);
        let sid = self.session.id.public();
        let (assertion, outgoing) = match found {
            Some(found) => {
                let outgoing = plan.build(&found.assertion, person, authentication, &sid)?;
                (Arc::clone(&found.assertion), outgoing)
            }
            None => {
                let (assertion, outgoing) = plan.sign(keys, person, authentication, &sid, now)?;
                (Arc::new(assertion), outgoing)
            }
        };
        let outgoing = Arc::new(outgoing);
        let this = Prepared {
            site,
            generation,
            refresh_at: plan.refresh_at(&assertion),
            assertion,
            outgoing: Some(Arc::clone(&outgoing)),
        };
        let others = prepared
            .iter()
            .filter(|other| other.generation == generation && other.site != site);
        let mut all: Vec<Prepared> = others.cloned().chain([this]).collect();
        all.shrink_to_fit();
        // Two requests may sign at once; the later one stays, and both assertions are good.
        self.prepared.store(Some(Arc::new(all)));
        ready.add(self);
        Ok(outgoing)
    }

    /// Forgets the headers, and keeps what they are built from.
    fn put_away(&self) {
        if let Some(prepared) = &*self.prepared.load() {
            let without = |prepared: &Prepared| Prepared {
                outgoing: None,
                ..prepared.clone()
            };
            self.prepared
                .store(Some(Arc::new(prepared.iter().map(without).collect())));
        }
    }

    /// A request asks for it.
    pub(super) fn touch(&self) {
        // Read first: a write by every request would have all cores fight for one line.
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request has asked for it since the last call.
    pub(super) fn was_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    /// About so many bytes of memory, with the headers' part for one site.
    pub(super) fn weight(&self) -> usize {
        let (person, authentication) = (&self.session.person, &self.session.authentication);
        let optional = [
            &person.username,
            &person.name,
            &person.picture,
            &person.phone,
            &person.email,
        ];
        let texts = optional.into_iter().chain([&authentication.unionid]).flatten();
        let texts = texts.chain([
            &person.id,
            &authentication.connection,
            &authentication.app_id,
            &authentication.openid,
        ]);
        let groups = person.groups.iter().map(|group| size_of::<String>() + group.len());
        size_of::<Self>() + texts.map(String::len).sum::<usize>() + groups.sum::<usize>() + PREPARED
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

#[derive(Debug)]
pub(super) enum Standing {
    Good,
    Outdated,
    Dead,
}

impl Ready {
    /// With room for so many.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            sessions: Mutex::default(),
        }
    }

    /// Notes one whose headers have been built, in the place of the one before all others.
    fn add(&self, session: &Arc<CachedSession>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.push_back(Arc::downgrade(session));
        let first = if sessions.len() > self.room {
            sessions.pop_front()
        } else {
            None
        };
        drop(sessions);
        if let Some(session) = first.and_then(|first| first.upgrade()) {
            session.put_away();
        }
    }
}

impl Default for Ready {
    fn default() -> Self {
        Self::new(READY)
    }
}

/// Some kilobyte each.
const READY: usize = 1024;
/// Signature and what surrounds it, of ES256 or EdDSA.
const PREPARED: usize = 250;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use allocation_counter::measure;

    use super::*;
    use crate::config::settings::Algorithm;
    use crate::config::{System, parse};
    use crate::identity::assertion::SigningKey;
    use crate::identity::person::{Authentication, Method, Person};
    use crate::session::cache::{Found, SessionCache};
    use crate::session::seal::{SealingKey, SealingRing};
    use crate::session::token::Limits;

    const NOW: i64 = 1_795_172_739;

    fn session() -> Session {
        Session {
            id: SessionId::random().unwrap(),
            person: Person {
                id: "u_3fd1hysr51h8rw5qgp7qpvchnh".into(),
                username: Some("wangxiaoming".into()),
                name: Some("王小明".into()),
                phone: Some("+8613800138000".into()),
                groups: vec!["staff".into(), "ops".into()],
                ..Person::default()
            },
            authentication: Authentication {
                connection: "staff".into(),
                method: Method::MiniProgram,
                time: NOW,
                app_id: "wx0123456789abcdef".into(),
                openid: "oAbCdEfGhIjKlMnOpQrStUvWxYz0".into(),
                unionid: None,
            },
            expires_at: NOW + 1_000_000,
            renewed_at: NOW,
            groups_left_out: false,
            known_at: NOW,
        }
    }

    fn plan() -> SitePlan {
        let text = r#"
[server]
listen = ["127.0.0.1:0"]
public_url = "https://login.example.com"
trusted_proxies = ["10.0.0.2/32"]

[[connections]]
id = "staff"
kind = "miniprogram-qr"
app_id = "wx0123456789abcdef"
app_secret = "0123456789abcdef0123456789abcdef"

[[sites]]
name = "Wiki"
hosts = ["wiki.example.com"]
upstreams = ["http://10.0.0.1:80"]
"#;
        let settings = parse(Path::new("test.toml"), text, &System).unwrap().settings;
        SitePlan::of(&settings, &settings.sites[0]).unwrap()
    }

    fn keys() -> SigningKeys {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        SigningKeys::new(vec![SigningKey::new(Algorithm::Es256, 0, &key).unwrap()])
    }

    fn assertion(outgoing: &Outgoing) -> String {
        outgoing.headers.last().unwrap().1.to_str().unwrap().to_owned()
    }

    #[test]
    fn what_was_put_away_is_built_again_and_not_signed_again() {
        let (plan, keys, ready) = (plan(), keys(), Ready::new(1));
        let (one, another) = (
            Arc::new(CachedSession::new(session())),
            Arc::new(CachedSession::new(session())),
        );
        let of = |session: &Arc<CachedSession>, now| session.outgoing(&ready, 0, 1, &plan, &keys, now).unwrap();
        let first = of(&one, NOW);
        assert!(Arc::ptr_eq(&first, &of(&one, NOW + 1)));
        let _ = of(&another, NOW);
        let again = of(&one, NOW + 149);
        assert!(!Arc::ptr_eq(&first, &again), "nothing was put away");
        assert_eq!(first.headers, again.headers);
        assert_ne!(
            assertion(&first),
            assertion(&of(&one, NOW + 150)),
            "half of its life is over"
        );
    }

    #[test]
    fn each_site_has_its_own_and_a_new_generation_begins_anew() {
        let (plan, keys, ready) = (plan(), keys(), Ready::default());
        let session = Arc::new(CachedSession::new(session()));
        let of = |site, generation| session.outgoing(&ready, site, generation, &plan, &keys, NOW).unwrap();
        let (here, there) = (of(0, 1), of(1, 1));
        assert_ne!(assertion(&here), assertion(&there));
        assert!(Arc::ptr_eq(&here, &of(0, 1)) && Arc::ptr_eq(&there, &of(1, 1)));
        assert_ne!(assertion(&here), assertion(&of(0, 2)));
        assert_eq!(session.prepared.load().as_ref().unwrap().len(), 1);
    }

    /// With its headers and the assertion of one site, which has been signed.
    #[test]
    fn a_cached_session_takes_less_than_a_kibibyte() {
        let ring = SealingRing::new(vec![SealingKey::new(1, 0, &[1; 32]).unwrap()]);
        let (plan, keys, revocations) = (plan(), keys(), Revocations::default());
        let limits = Limits {
            lifetime: 1_000_000,
            idle_timeout: 86_400,
        };
        let (ready, cache) = (Ready::new(16), SessionCache::new(1 << 30));
        let use_them = |cookies: &[String]| {
            let used = measure(|| {
                for cookie in cookies {
                    let found = cache.find(
                        &ring,
                        &revocations,
                        limits,
                        "menshen",
                        "a.example",
                        cookie.as_bytes(),
                        NOW,
                    );
                    if let Found::Live(session) = found {
                        let _ = session.outgoing(&ready, 0, 1, &plan, &keys, NOW).unwrap();
                    }
                }
            });
            usize::try_from(used.bytes_current).unwrap()
        };
        let seal = |_| session().seal(&ring, "menshen", "a.example", NOW).unwrap();
        let cookies: Vec<String> = (0..3_000).map(seal).collect();
        let (some, more) = cookies.split_at(1_000);
        let _ = use_them(some);
        let each = use_them(more) / more.len();
        assert_eq!(cache.len(), cookies.len());
        assert!(each <= 1024, "{each} bytes");
        let weight = CachedSession::new(session()).weight();
        assert!(weight.abs_diff(each) < 150, "{weight} is said, {each} are taken");
    }
}
