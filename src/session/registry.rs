//! Sessions of this installation as one node sees them: cookies in, sessions out, and their ends.
//!
//! Requests ask memory only. What was revoked is read from the store in the background, at least every half second and
//! at once when this node revoked something, so that a logout here and a command elsewhere reach all nodes in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::config::Settings;
use crate::identity::assertion::{SigningError, SigningKeys};
use crate::identity::outgoing::{Outgoing, SitePlan};
use crate::session::cache::{Found, SessionCache};
use crate::session::cached::{CachedSession, Ready};
use crate::session::cookie::CookieNames;
use crate::session::revocation::{Revocations, Revoked};
use crate::session::seal::SealingRing;
use crate::session::token::{Limits, Session, SessionId};
use crate::session::tokens::Tokens;
use crate::session::unused::Unused;
use crate::session::uses::Uses;
use crate::store::{Revocation, RevocationKind, SessionRow, Store, StoreError, User};
use crate::telemetry::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// The sessions of one node.
#[derive(Debug)]
pub struct Registry {
    store: Store,
    ring: Arc<SealingRing>,
    clock: Clock,
    cookie_name: String,
    limits: Limits,
    /// How old the knowledge of revocations may be, in seconds.
    tolerance: i64,
    cache: Arc<SessionCache>,
    ready: Arc<Ready>,
    revocations: Arc<Revocations>,
    /// Number of the last revocation that was read.
    seen: Arc<AtomicI64>,
    changed: Arc<Notify>,
    metrics: Arc<Metrics>,
    unused: Arc<Unused>,
    tokens: Arc<Tokens>,
    uses: Arc<Uses>,
}

/// What became of a session cookie.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// It holds.
    Live(Arc<CachedSession>),
    /// Forged, foreign, expired or revoked: to be cleared.
    Dead,
    /// Nobody can say: the store was never read, or not for too long.
    Unverifiable,
}

impl Registry {
    /// For a configuration.
    pub fn new(
        settings: &Settings,
        store: Store,
        ring: Arc<SealingRing>,
        clock: Clock,
        names: &CookieNames,
        changed: Arc<Notify>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let revocations = Arc::<Revocations>::default();
        let tokens = Tokens::new(store.clone(), clock.clone(), Arc::clone(&revocations));
        Self {
            store,
            ring,
            clock,
            cookie_name: names.session.clone(),
            limits: limits(settings),
            tolerance: tolerance(settings),
            cache: Arc::new(SessionCache::new(CACHE_BYTES)),
            ready: Arc::default(),
            revocations,
            seen: Arc::default(),
            changed,
            metrics,
            unused: Arc::default(),
            tokens: Arc::new(tokens),
            uses: Arc::default(),
        }
    }

    /// The same sessions under another configuration: what is cached and what is revoked stays known.
    #[must_use]
    pub fn renewed(&self, settings: &Settings, ring: Arc<SealingRing>, names: &CookieNames) -> Self {
        // The cache does not know by which name a cookie came, and the name is part of what a cookie is sealed with.
        let same_name = self.cookie_name == names.session;
        Self {
            store: self.store.clone(),
            ring,
            clock: self.clock.clone(),
            cookie_name: names.session.clone(),
            limits: limits(settings),
            tolerance: tolerance(settings),
            cache: if same_name {
                Arc::clone(&self.cache)
            } else {
                Arc::new(SessionCache::new(CACHE_BYTES))
            },
            ready: Arc::clone(&self.ready),
            revocations: Arc::clone(&self.revocations),
            seen: Arc::clone(&self.seen),
            changed: Arc::clone(&self.changed),
            metrics: Arc::clone(&self.metrics),
            unused: Arc::clone(&self.unused),
            tokens: Arc::clone(&self.tokens),
            uses: Arc::clone(&self.uses),
        }
    }

    /// Absolute and idle limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Sessions that were made here and not used yet.
    pub fn unused(&self) -> &Unused {
        &self.unused
    }

    /// Bearer tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether this node may serve sessions.
    pub fn is_ready(&self) -> bool {
        self.revocations.is_fresh(self.tolerance, self.clock.now())
    }

    /// The session of a cookie on a host. Asks the store only when the person has changed or the groups did not fit.
    pub async fn find(&self, host: &str, cookie: &[u8]) -> Lookup {
        let now = self.clock.now();
        if !self.revocations.is_fresh(self.tolerance, now) {
            return Lookup::Unverifiable;
        }
        let name = &self.cookie_name;
        let found = match self
            .cache
            .find(&self.ring, &self.revocations, self.limits, name, host, cookie, now)
        {
            Found::Live(session) => Lookup::Live(session),
            Found::Dead if self.ring.may_be_newer(cookie, now) => Lookup::Unverifiable,
            Found::Dead => Lookup::Dead,
            Found::Outdated(session) => self.read_again(host, cookie, *session, now).await,
        };
        if let Lookup::Live(session) = &found
            && session.is_first_use()
        {
            self.unused.used(&session.session.id);
        }
        found
    }

    async fn read_again(&self, host: &str, cookie: &[u8], session: Session, now: i64) -> Lookup {
        match self.store.user(&session.person.id).await {
            Ok(Some(user)) if !user.disabled => {
                let session = Session {
                    person: user.into(),
                    ..session
                };
                Lookup::Live(self.cache.refresh(host, cookie, session, now))
            }
            Ok(_) => Lookup::Dead,
            Err(error) => {
                warn!(%error, "a changed person could not be read");
                Lookup::Unverifiable
            }
        }
    }

    /// The headers that a site (by its place in the settings of `generation`) gets about a session that was found.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn outgoing(
        &self,
        found: &Arc<CachedSession>,
        site: usize,
        generation: u64,
        plan: &SitePlan,
        keys: &SigningKeys,
    ) -> Result<Arc<Outgoing>, SigningError> {
        found.outgoing(&self.ready, site, generation, plan, keys, self.clock.now())
    }

    /// Forgets sessions that nobody has asked for for minutes.
    pub fn sweep(&self) {
        self.cache.sweep(self.clock.now());
    }

    /// Whether a session that was found still holds, for what was admitted by it and goes on. The idle limit is not
    /// looked at, since other requests may have renewed the cookie.
    pub fn still_holds(&self, found: &CachedSession) -> bool {
        let now = self.clock.now();
        self.revocations.is_fresh(self.tolerance, now)
            && now < found.session.expires_at
            && !found.is_over(&self.revocations)
    }

    /// Whether the person is still the one who was admitted at `since` (Unix seconds). A stream that does not end by
    /// itself is ended by a change: whether the new one is admitted is for the next request to find out.
    pub fn still_the_same(&self, found: &CachedSession, since: i64) -> bool {
        !self.revocations.changed_since(&found.session, since)
    }

    /// A new cookie value for a session whose idle limit starts anew; `None` while the old one is good enough. A renewal
    /// is also how the registry learns of a use.
    pub fn renew(&self, session: &Session, host: &str) -> Option<String> {
        let now = self.clock.now();
        if !session.wants_renewal(self.limits, now) {
            return None;
        }
        self.uses.note(session.id, now);
        let renewed = Session {
            renewed_at: now,
            ..session.clone()
        };
        renewed
            .seal(&self.ring, &self.cookie_name, host, now)
            .inspect_err(|error| error!(%error, "session cookie not renewed"))
            .ok()
    }

    /// Writes when sessions were last used, until `shutdown` says true.
    pub async fn write_uses(&self, shutdown: watch::Receiver<bool>) {
        self.uses.write(&self.store, shutdown).await;
    }

    /// Ends one session, and what came from the same login on other hosts, everywhere.
    ///
    /// # Errors
    /// When the store does not answer: then it goes on, and the person must be told.
    pub async fn end(&self, session: &Session, reason: &str) -> Result<(), StoreError> {
        self.store
            .end_session(&session.id.to_text(), reason, self.clock.now())
            .await?;
        self.metrics.sessions_ended(reason, 1);
        // Here at once; elsewhere as soon as it is read.
        self.revocations.add(Revoked::Session(session.id), session.expires_at);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends this session, and nothing else that came from the same login.
    ///
    /// # Errors
    /// As for [`Registry::end`].
    pub async fn end_here(&self, session: &Session, reason: &str) -> Result<(), StoreError> {
        self.store
            .end_one_session(&session.id.to_text(), reason, self.clock.now())
            .await?;
        self.metrics.sessions_ended(reason, 1);
        self.revocations.add(Revoked::Session(session.id), session.expires_at);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends a session of the registry everywhere; false if it had ended.
    ///
    /// # Errors
    /// As for [`Registry::end`].
    pub async fn end_listed(&self, row: &SessionRow, reason: &str) -> Result<bool, StoreError> {
        let ended = self.store.end_session(&row.id, reason, self.clock.now()).await?;
        self.metrics.sessions_ended(reason, u64::from(ended));
        if let Some(id) = SessionId::parse(&row.id) {
            self.revocations.add(Revoked::Session(id), row.expires_at);
        }
        self.changed.notify_one();
        Ok(ended)
    }

    /// Somebody ended sessions in the store, `ended` of them: they are read at once.
    pub fn ended_elsewhere(&self, reason: &str, ended: u64) {
        self.metrics.sessions_ended(reason, ended);
        self.changed.notify_one();
    }

    /// Ends all sessions of a person.
    ///
    /// # Errors
    /// As for [`Registry::end`].
    pub async fn end_all(&self, session: &Session, reason: &str) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let ended = self.store.end_sessions_of(&session.person.id, reason, now).await?;
        self.metrics.sessions_ended(reason, ended);
        let user = session.person.id.clone();
        self.revocations.add(Revoked::Session(session.id), session.expires_at);
        self.revocations
            .add(Revoked::SessionsOf { user, until: now }, session.expires_at);
        self.changed.notify_one();
        Ok(ended)
    }

    /// Reads what was revoked since the last reading, so that sessions can be served: page by page, since a large
    /// installation has millions.
    ///
    /// # Errors
    /// When the store does not answer: [`Registry::follow`] goes on trying.
    pub async fn read(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        loop {
            let seen = self.seen.load(Ordering::Acquire);
            let page = self.store.revocations_after(seen, PAGE).await?;
            let complete = page.len() < PAGE as usize;
            for revocation in page {
                self.seen.fetch_max(revocation.seq, Ordering::AcqRel);
                self.note(revocation);
            }
            if complete {
                break;
            }
        }
        self.revocations.mark_read(now);
        Ok(())
    }

    /// Reads what is revoked until `shutdown` says true.
    pub async fn follow(&self, mut shutdown: watch::Receiver<bool>) {
        let mut failing = false;
        let mut swept_at = self.clock.now();
        loop {
            let now = self.clock.now();
            match self.read().await {
                Ok(()) if failing => {
                    failing = false;
                    info!("the store answers again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    error!(%error, "revocations cannot be read; sessions go on for session.store_outage");
                }
                Err(_) => {}
            }
            if now - swept_at >= SWEEP_EVERY {
                swept_at = now;
                self.revocations.sweep(now);
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(READ_EVERY) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn note(&self, revocation: Revocation) {
        let Revocation {
            kind,
            subject,
            at,
            keep_until,
            ..
        } = revocation;
        let revoked = match kind {
            RevocationKind::Session => SessionId::parse(&subject).map(Revoked::Session),
            RevocationKind::User => Some(Revoked::SessionsOf {
                user: subject,
                until: at,
            }),
            RevocationKind::Change => Some(Revoked::ClaimsOf {
                user: subject,
                until: at,
            }),
        };
        match revoked {
            Some(revoked) => self.revocations.add(revoked, keep_until),
            None => error!(seq = revocation.seq, "a revoked session has no readable id"),
        }
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        lifetime: seconds(settings.session.lifetime),
        idle_timeout: seconds(settings.session.idle_timeout),
    }
}

fn tolerance(settings: &Settings) -> i64 {
    let session = &settings.session;
    seconds(session.revocation_delay).saturating_add(seconds(session.store_outage))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

impl From<User> for crate::identity::person::Person {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            name: user.name,
            picture: user.picture,
            phone: user.phone,
            email: user.email,
            groups: user.groups,
        }
    }
}

/// Of sessions that were used within minutes: a million, so that a node with as many users does not open cookies all the
/// time.
const CACHE_BYTES: u64 = 1 << 30;
/// Revocations that are read at once.
const PAGE: u32 = 10_000;
/// Twice within the second in which a revocation must arrive.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Seconds.
const SWEEP_EVERY: i64 = 300;
