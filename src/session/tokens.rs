//! Bearer tokens as one node sees them: looked up once, then answered from memory like sessions.
//!
//! What is in memory is revoked by what the registry reads anyhow, so that a request asks no store, and goes on while the
//! store is away. It is forgotten after hours: the store keeps a revocation for longer than that, and no longer. What was
//! refused is remembered for seconds, so that a client that repeats a dead token costs no look-up each time. Looking up
//! comes in two steps ([`Tokens::recall`], [`Tokens::look_up`]): whoever is between them can refuse those who try many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, warn};

use crate::identity::person::{Authentication, Method};
use crate::session::bearer::TokenHash;
use crate::session::cached::{Bearer, CachedSession, Standing};
use crate::session::revocation::Revocations;
use crate::session::token::{Session, SessionId};
use crate::store::{Store, StoreError, TokenKind, TokenRow, User, token_subject};
use crate::telemetry::clock::Clock;

/// The tokens of one node.
#[derive(Debug)]
pub struct Tokens {
    store: Store,
    clock: Clock,
    revocations: Arc<Revocations>,
    known: moka::future::Cache<TokenHash, Arc<CachedSession>>,
    refused: moka::sync::Cache<TokenHash, ()>,
    /// Uses that are not in the store yet: token id, Unix seconds.
    uses: Mutex<HashMap<String, i64>>,
}

/// What memory says about a token.
#[derive(Debug, Clone)]
pub enum Recalled {
    /// It holds.
    Live(Arc<CachedSession>),
    /// It has not the form of a token.
    Malformed,
    /// It was refused a moment ago.
    Refused,
    /// It held, but what it says about its user must be read again.
    Outdated(TokenHash),
    /// Nothing.
    Nothing(TokenHash),
}

/// What the store says about a token.
#[derive(Debug, Clone)]
pub enum LookedUp {
    /// It holds.
    Live(Arc<CachedSession>),
    /// Unknown, ended, or no credential.
    Refused,
    /// The store does not answer.
    Unverifiable,
}

impl Tokens {
    /// Tokens in `store`, ended by what `revocations` will be told.
    pub(super) fn new(store: Store, clock: Clock, revocations: Arc<Revocations>) -> Self {
        Self {
            store,
            clock,
            revocations,
            known: moka::future::Cache::builder()
                .max_capacity(KNOWN_TOKENS)
                .time_to_live(KNOWN_FOR)
                .build(),
            refused: moka::sync::Cache::builder()
                .max_capacity(REFUSED_TOKENS)
                .time_to_live(REFUSED_FOR)
                .build(),
            uses: Mutex::default(),
        }
    }

    /// What is known of a token without asking the store. The registry must be ready: a node that does not know what was
    /// revoked must not ask here.
    pub async fn recall(&self, text: &[u8]) -> Recalled {
        let Some(hash) = TokenHash::of(text) else {
            return Recalled::Malformed;
        };
        let Some(known) = self.known.get(&hash).await else {
            return match self.refused.get(&hash) {
                Some(()) => Recalled::Refused,
                None => Recalled::Nothing(hash),
            };
        };
        let now = self.clock.now();
        let standing = if now < known.session.expires_at {
            known.check(&self.revocations)
        } else {
            Standing::Dead
        };
        match standing {
            Standing::Good => {
                self.note_use(&known, now);
                Recalled::Live(known)
            }
            Standing::Outdated => {
                self.known.invalidate(&hash).await;
                Recalled::Outdated(hash)
            }
            Standing::Dead => {
                self.known.invalidate(&hash).await;
                self.refused.insert(hash, ());
                Recalled::Refused
            }
        }
    }

    /// Asks the store; many who ask for one token at a time ask it once.
    pub async fn look_up(&self, hash: TokenHash) -> LookedUp {
        let found = self.known.try_get_with(hash, self.read(hash)).await;
        match found.as_ref().map_err(AsRef::as_ref) {
            // What was revoked between the reading and now is known here already, or raises the epoch later.
            Ok(found) if matches!(found.check(&self.revocations), Standing::Dead) => {
                self.known.invalidate(&hash).await;
                LookedUp::Refused
            }
            Ok(found) => {
                self.note_use(found, self.clock.now());
                LookedUp::Live(Arc::clone(found))
            }
            Err(Missing::Refused) => {
                self.refused.insert(hash, ());
                LookedUp::Refused
            }
            Err(Missing::Store(error)) => {
                warn!(%error, "a token could not be looked up");
                LookedUp::Unverifiable
            }
        }
    }

    /// Writes down which tokens were used since the last time, to within minutes.
    pub async fn flush(&self) {
        let uses: Vec<(String, i64)> = self.uses().drain().collect();
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.store.touch_tokens(&uses).await {
            warn!(%error, tokens = uses.len(), "last uses of tokens not written, the next time again");
            let mut held = self.uses();
            for (id, at) in uses {
                let latest = held.entry(id).or_insert(at);
                *latest = at.max(*latest);
            }
        }
    }

    async fn read(&self, hash: TokenHash) -> Result<Arc<CachedSession>, Missing> {
        let now = self.clock.now();
        let row = self.store.token_by_hash(hash.as_bytes()).await?;
        let row = row.filter(|row| is_credential(row, now)).ok_or(Missing::Refused)?;
        // Before the user is read: what comes in between ends what goes on by this reading.
        let settled = self.revocations.all_ended_at(&row.user_id);
        let user = self.store.user(&row.user_id).await?;
        let user = user.filter(|user| !user.disabled).ok_or(Missing::Refused)?;
        Ok(Arc::new(represent(row, user, settled, now).ok_or(Missing::Refused)?))
    }

    /// Once in some minutes per token: a load of one number for all requests in between.
    fn note_use(&self, used: &CachedSession, now: i64) {
        let Some(bearer) = &used.bearer else { return };
        let noted = bearer.noted.load(Ordering::Relaxed);
        if now.saturating_sub(noted) < NOTED_EVERY {
            return;
        }
        let exchanged = bearer
            .noted
            .compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed);
        if exchanged.is_ok() {
            self.uses().insert(bearer.id.clone(), now);
        }
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a look-up gave nothing.
#[derive(Debug)]
enum Missing {
    Refused,
    Store(StoreError),
}

impl From<StoreError> for Missing {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether a row is a credential at `now`.
fn is_credential(row: &TokenRow, now: i64) -> bool {
    matches!(row.kind, TokenKind::Api | TokenKind::Access)
        && row.revoked_at.is_none()
        && row.expires_at.is_none_or(|end| now < end)
}

/// A token in the form in which requests are decided and forwarded.
fn represent(row: TokenRow, user: User, settled: Option<i64>, now: i64) -> Option<CachedSession> {
    let revoked_as = SessionId::parse(&token_subject(&row.id))?;
    let of_login = row.session_id.is_some();
    let id = match &row.session_id {
        // What an application sees as the session stays the same from one access token to the next.
        Some(session) => {
            let id = SessionId::parse(session);
            if id.is_none() {
                error!(token = row.id, "the session of a token has no readable id");
            }
            id?
        }
        None => revoked_as,
    };
    let session = Session {
        id,
        person: user.into(),
        authentication: Authentication {
            connection: row.connection.unwrap_or_default(),
            method: Method::Token,
            time: row.auth_time,
            app_id: String::new(),
            openid: String::new(),
            unionid: None,
        },
        expires_at: row.expires_at.unwrap_or(NEVER),
        renewed_at: row.created_at,
        groups_left_out: false,
        known_at: now,
    };
    let bearer = Bearer {
        id: row.id,
        revoked_as,
        sites: row.sites,
        of_login,
        settled,
        noted: AtomicI64::new(row.last_used_at.unwrap_or(0)),
    };
    Some(CachedSession::of_token(session, bearer))
}

/// `expires_at` of a token that does not end: later than any clock, and far from overflowing.
pub const NEVER: i64 = i64::MAX / 4;
/// Less than a kilobyte each.
const KNOWN_TOKENS: u64 = 100_000;
/// Shorter than the store keeps a revocation of a token or a user.
const KNOWN_FOR: Duration = Duration::from_secs(12 * 3_600);
/// Some hundred bytes each.
const REFUSED_TOKENS: u64 = 10_000;
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Seconds between two uses that are noted.
const NOTED_EVERY: i64 = 300;

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
