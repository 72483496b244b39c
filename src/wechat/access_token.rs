//! The application's access token (getStableAccessToken), one per AppID and process.
//!
//! `stable_token` is used and never `/cgi-bin/token`: the latter makes a new token at every call and so puts an end to
//! the one that another process just got. In its normal mode the stable call is idempotent, so nodes need no common
//! cache or lock. `force_refresh` ends everybody's token and is rationed by WeChat, so it is the last resort: only when
//! a refused token is handed out again.
//!
//! Within a process one caller fetches and the others wait for that result, success or failure. Shortly before its end
//! a token is renewed by whoever comes first while the others go on with it, and it goes on too if WeChat cannot be
//! reached.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::wechat::answer::{bad, read_json};
use crate::wechat::breaker::Breaker;
use crate::wechat::clock::Deadline;
use crate::wechat::codes::Class;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, TransportFailure, WechatError};
use crate::wechat::transport::{Call, Transport};

/// The access token of one app, fetched when needed and shared by all callers.
pub struct AccessTokens {
    transport: Arc<Transport>,
    breaker: Arc<Breaker>,
    app_id: Box<str>,
    app_secret: SecretString,
    held: ArcSwapOption<Held>,
    /// Fetches that have ended, well or badly.
    fetched: AtomicU64,
    fetcher: Mutex<Fetcher>,
}

/// A token that WeChat gave. `Debug` shows nothing of it.
#[derive(Debug, Clone)]
pub(crate) struct AccessToken(Arc<SecretString>);

#[derive(Debug, Clone)]
struct Held {
    token: AccessToken,
    /// From now on somebody renews it.
    renew_at: Instant,
    /// From now on it is of no use.
    ends_at: Instant,
}

/// What only the one who fetches may touch.
#[derive(Debug, Default)]
struct Fetcher {
    /// Of the latest fetch.
    failure: Option<WechatError>,
    force: ForceGuard,
    /// When it was last said that somebody else replaces the token.
    said: Option<Instant>,
}

/// WeChat's ration of forced renewals: 30 s apart, 20 a day. This node's own count; what other nodes use up shows in
/// WeChat's answers.
#[derive(Debug, Default)]
struct ForceGuard {
    forced: VecDeque<Instant>,
    not_before: Option<Instant>,
}

/// The request of stable_token.
#[derive(Serialize)]
struct TokenRequest<'a> {
    grant_type: &'static str,
    appid: &'a str,
    secret: &'a str,
    force_refresh: bool,
}

/// The answer of stable_token.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Box<str>,
    expires_in: u64,
}

impl AccessTokens {
    /// For one app. Fetches nothing yet.
    pub fn new(transport: Arc<Transport>, app_id: impl Into<Box<str>>, app_secret: SecretString) -> Self {
        let breaker = Arc::new(Breaker::new(Arc::clone(transport.clock())));
        Self {
            transport,
            breaker,
            app_id: app_id.into(),
            app_secret,
            held: ArcSwapOption::empty(),
            fetched: AtomicU64::new(0),
            fetcher: Mutex::default(),
        }
    }

    /// Makes sure that there is a token: the credentials are right and this address is allowed.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, with its remedy.
    pub async fn check(&self) -> Result<(), WechatError> {
        self.current(&self.transport.deadline()).await.map(drop)
    }

    pub(crate) fn app_id(&self) -> &str {
        &self.app_id
    }

    pub(crate) fn app_secret(&self) -> &str {
        self.app_secret.expose_secret()
    }

    /// The pauses of this app's endpoints.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Makes a call with a token; once more with a new one if WeChat refuses the token, and never a third time.
    /// Getting a token may take half of the time that is left: a code that was sent too late for its answer is spent
    /// for nothing.
    pub(crate) async fn call<T, Attempt>(
        &self,
        deadline: &Deadline,
        attempt: impl Fn(AccessToken) -> Attempt,
    ) -> Result<T, WechatError>
    where
        Attempt: Future<Output = Result<T, WechatError>>,
    {
        let token = self.current(&deadline.half()).await?;
        match attempt(token.clone()).await {
            Err(error) if error.rejects_token() => {
                tracing::debug!(
                    code = error.code(),
                    rid = error.rid(),
                    "WeChat refuses the access token"
                );
                attempt(self.replace(&token, &deadline.half()).await?).await
            }
            result => result,
        }
    }

    /// A token to use now.
    async fn current(&self, deadline: &Deadline) -> Result<AccessToken, WechatError> {
        let seen = self.fetched.load(Ordering::Acquire);
        let now = self.now();
        match self.held.load_full() {
            Some(held) if now < held.renew_at => Ok(held.token.clone()),
            Some(held) if now < held.ends_at => Ok(self.renew(&held, deadline).await),
            _ => {
                let mut fetcher = self.wait_for_turn(seen, deadline).await?;
                match self.held.load_full() {
                    Some(held) if self.now() < held.ends_at => Ok(held.token.clone()),
                    _ => self.fetch_and_hold(&mut fetcher, deadline).await,
                }
            }
        }
    }

    /// Renews a token that is still good for a while; the old one again if somebody else is at it or it fails.
    async fn renew(&self, held: &Arc<Held>, deadline: &Deadline) -> AccessToken {
        let Ok(mut fetcher) = self.fetcher.try_lock() else {
            return held.token.clone();
        };
        match self.held.load_full() {
            Some(newer) if !Arc::ptr_eq(&newer, held) => return newer.token.clone(),
            _ => {}
        }
        // The call itself must still fit in.
        match self.fetch_and_hold(&mut fetcher, &deadline.half()).await {
            Ok(token) => token,
            Err(error) => {
                tracing::debug!(%error, "the access token could not be renewed yet");
                self.held.store(Some(Arc::new(Held {
                    renew_at: self.now() + RENEWAL_PAUSE,
                    ..Held::clone(held)
                })));
                held.token.clone()
            }
        }
    }

    /// Another token than the one that WeChat refused.
    async fn replace(&self, refused: &AccessToken, deadline: &Deadline) -> Result<AccessToken, WechatError> {
        let seen = self.fetched.load(Ordering::Acquire);
        let mut fetcher = self.wait_for_turn(seen, deadline).await?;
        // Only the refused token is dropped: somebody may have replaced it while this caller waited.
        let early = match self.held.load_full() {
            Some(held) if held.token != *refused && self.now() < held.ends_at => return Ok(held.token.clone()),
            held => held.is_some_and(|held| self.now() < held.renew_at),
        };
        self.held.store(None);
        let token = self.fetch_and_hold(&mut fetcher, deadline).await?;
        if token != *refused {
            if early {
                fetcher.replaced(&self.app_id, self.now());
            }
            return Ok(token);
        }
        let forced = self.force(&mut fetcher, deadline).await;
        // Whoever waited with the same refused token is told the same, and does not ask once more.
        fetcher.failure = forced.as_ref().err().cloned();
        self.fetched.fetch_add(1, Ordering::Release);
        forced
    }

    /// A token that puts an end to the one that WeChat hands out and refuses.
    async fn force(&self, fetcher: &mut Fetcher, deadline: &Deadline) -> Result<AccessToken, WechatError> {
        fetcher
            .force
            .admit(self.now())
            .map_err(|retry_after| WechatError::TokenHeld { retry_after })?;
        tracing::warn!(app_id = %self.app_id, "WeChat hands out a token that it refuses; forcing a new one");
        let forced = self.fetch(true, deadline).await;
        if let Err(WechatError::Refused(refusal)) = &forced
            && refusal.class() == Class::Quota
        {
            // The ration of forced renewals is spent; the normal call is not concerned.
            fetcher.force.rest_until(self.now() + FORCE_REST);
        }
        let forced = Arc::new(forced?);
        self.held.store(Some(Arc::clone(&forced)));
        Ok(forced.token.clone())
    }

    /// Waits until nobody fetches. If a fetch ended badly in the meantime, its failure is this caller's too: a queue of
    /// callers must not try one after the other what has just failed.
    async fn wait_for_turn(&self, seen: u64, deadline: &Deadline) -> Result<MutexGuard<'_, Fetcher>, WechatError> {
        let timed_out = || WechatError::Transport {
            endpoint: Endpoint::StableToken,
            failure: TransportFailure::TimedOut { answered: false },
        };
        let fetcher = tokio::time::timeout(deadline.remaining(), self.fetcher.lock())
            .await
            .map_err(|_| timed_out())?;
        match &fetcher.failure {
            Some(failure) if self.fetched.load(Ordering::Acquire) != seen => Err(failure.clone()),
            _ => Ok(fetcher),
        }
    }

    async fn fetch_and_hold(&self, fetcher: &mut Fetcher, deadline: &Deadline) -> Result<AccessToken, WechatError> {
        let result = self.fetch(false, deadline).await;
        fetcher.failure = result.as_ref().err().cloned();
        if let Ok(held) = &result {
            self.held.store(Some(Arc::new(held.clone())));
        }
        self.fetched.fetch_add(1, Ordering::Release);
        result.map(|held| held.token)
    }

    async fn fetch(&self, force_refresh: bool, deadline: &Deadline) -> Result<Held, WechatError> {
        let endpoint = Endpoint::StableToken;
        self.breaker.admit(endpoint)?;
        let request = TokenRequest {
            grant_type: "client_credential",
            appid: &self.app_id,
            secret: self.app_secret.expose_secret(),
            force_refresh,
        };
        let call = Call::post(endpoint, &[], &request)?;
        let asked_at = self.now();
        let read = read_json::<TokenAnswer>;
        let result = if force_refresh {
            // Each attempt counts against the ration.
            self.transport.call(&call, deadline, read).await
        } else {
            self.transport.call_patiently(&call, deadline, read).await
        };
        let result = match result {
            // Of the ration: the normal call is not concerned.
            Err(WechatError::Refused(refusal)) if force_refresh && refusal.class() == Class::Quota => {
                Err(WechatError::Refused(refusal))
            }
            result => self.breaker.record(endpoint, result),
        };
        let answer = result?;
        let token = &answer.access_token;
        if !(1..=TOKEN_LIMIT).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad(endpoint, BadAnswer::Lacks("access token")));
        }
        let life = Duration::from_secs(answer.expires_in.clamp(1, LONGEST_LIFE));
        Ok(Held {
            token: AccessToken(Arc::new(answer.access_token.into())),
            renew_at: asked_at + renew_after(life, jitter()),
            ends_at: asked_at + life.max(SHORTEST_USE),
        })
    }

    fn now(&self) -> Instant {
        self.transport.clock().now()
    }
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessTokens")
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

impl AccessToken {
    /// For the query of a call, and nowhere else.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Both sides came from WeChat, nobody guesses here: the comparison need not be constant in time.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Fetcher {
    /// A token ended before its time, and there is another: somebody forces new ones. Said now and then, since each time
    /// costs some login two calls more, and two programs that do it in turn never find an end.
    fn replaced(&mut self, app_id: &str, now: Instant) {
        let said = self
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < SAID_AGAIN);
        if said {
            return;
        }
        self.said = Some(now);
        tracing::warn!(
            app_id,
            remedy = %WechatError::TokenHeld { retry_after: Duration::ZERO }.remedy(),
            "another program has replaced this app's access token; the new one is used"
        );
    }
}

impl ForceGuard {
    /// Takes one from the ration, or says when there is one.
    fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        while self
            .forced
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= FORCE_WINDOW)
        {
            self.forced.pop_front();
        }
        let after_last = self.forced.back().map(|last| *last + FORCE_INTERVAL);
        let after_first = self
            .forced
            .front()
            .filter(|_| self.forced.len() >= FORCE_RATION)
            .map(|first| *first + FORCE_WINDOW);
        let free_at = [after_last, after_first, self.not_before].into_iter().flatten().max();
        match free_at {
            Some(free_at) if free_at > now => Err(free_at - now),
            _ => {
                self.forced.push_back(now);
                Ok(())
            }
        }
    }

    fn rest_until(&mut self, at: Instant) {
        self.not_before = Some(at);
    }
}

/// How long a token is used before somebody renews it. WeChat itself replaces a token five minutes before its end, so
/// an answer with less than that announces a new token soon: looked at again in seconds, but never in a loop.
fn renew_after(life: Duration, jitter: Duration) -> Duration {
    let soon = (life / 2).clamp(SHORTEST_USE, RENEWAL_NEAR_END);
    life.saturating_sub(RENEWAL_MARGIN + jitter).max(soon)
}

/// So that nodes which started together do not renew together.
fn jitter() -> Duration {
    let mut random = [0; 2];
    // Without randomness nodes merely renew at the same time.
    let _ = aws_lc_rs::rand::fill(&mut random);
    JITTER * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)
}

/// WeChat replaces a token this long before its end.
const RENEWAL_MARGIN: Duration = Duration::from_secs(300);

const JITTER: Duration = Duration::from_secs(60);

/// How often a token is asked for when WeChat is about to replace it.
const RENEWAL_NEAR_END: Duration = Duration::from_secs(30);

/// A token is used at least this long, whatever WeChat says about its life; if it dies, WeChat's refusal renews it.
const SHORTEST_USE: Duration = Duration::from_secs(10);

/// After a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// WeChat documents 7200 s; a day bounds what a broken answer can do.
const LONGEST_LIFE: u64 = 86_400;

/// WeChat says to reserve 512 bytes.
const TOKEN_LIMIT: usize = 2048;

const FORCE_INTERVAL: Duration = Duration::from_secs(30);

const FORCE_RATION: usize = 20;

const FORCE_WINDOW: Duration = Duration::from_secs(86_400);

/// Between two lines about a program that replaces tokens.
const SAID_AGAIN: Duration = Duration::from_secs(600);

/// After WeChat said that the ration is spent.
const FORCE_REST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
