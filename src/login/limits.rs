//! How much one address or one person may ask for.
//!
//! Token buckets in memory (GCRA): exact per node, nothing stored. Behind several nodes an address gets the limit once
//! per node, which is the price for not asking a database about every page view.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{NotUntil, Quota, RateLimiter};

use crate::config::settings;
use crate::login::scene::Scene;

/// The limits of one node.
#[derive(Debug)]
pub struct Limits {
    login_pages: Arc<Bucket<IpAddr>>,
    account_codes: Arc<Bucket<IpAddr>>,
    phone_calls: Arc<Bucket<IpAddr>>,
    phone_calls_per_person: Arc<Bucket<String>>,
    /// Look-ups of tokens: as many as phone calls, and apart from them. A program that repeats a dead token must not keep
    /// the phones behind the same address out.
    token_lookups: Arc<Bucket<IpAddr>>,
    /// Exchanges of a session's refresh token.
    refreshes: Arc<Bucket<String>>,
    /// Looks at one ticket by who watches it, whatever their address: a page and an application have one each.
    polls: Arc<Bucket<u64>>,
    /// Tickets whose refused start has been written down.
    refused_entries: Arc<Bucket<u64>>,
    streams: Streams,
}

/// Too many; try again after so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, again in {} s", .retry_after.as_secs())]
pub struct TooMany {
    /// For `Retry-After`, at least a second.
    pub retry_after: Duration,
}

impl TooMany {
    /// With what is left to wait.
    pub(super) fn until(left: Duration) -> Self {
        Self {
            retry_after: left.max(Duration::from_secs(1)),
        }
    }
}

/// A place among the open streams of an address; given back when dropped.
#[derive(Debug)]
pub struct StreamPlace {
    address: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Limits {
    /// From the configuration.
    pub fn new(limits: &settings::Limits) -> Self {
        Self {
            login_pages: Arc::new(Bucket::new(limits.login_pages)),
            account_codes: Arc::new(Bucket::new(limits.account_codes)),
            phone_calls: Arc::new(Bucket::new(limits.phone_calls)),
            phone_calls_per_person: Arc::new(Bucket::new(limits.phone_calls_per_person)),
            token_lookups: Arc::new(Bucket::new(limits.phone_calls)),
            refreshes: Arc::new(Bucket::with_burst(REFRESHES, REFRESHES_AT_ONCE)),
            polls: Arc::new(Bucket::with_burst(POLLS, POLLS_AT_ONCE)),
            refused_entries: Arc::new(Bucket::new(ONCE)),
            streams: Streams {
                limit: limits.waiting_streams,
                open: Arc::default(),
            },
        }
    }

    /// The same for another configuration. A limit that stays goes on counting where it was, or a new configuration would
    /// be a way to start afresh; one that changes begins anew.
    #[must_use]
    pub fn renewed(&self, limits: &settings::Limits) -> Self {
        Self {
            login_pages: self.login_pages.renewed(limits.login_pages),
            account_codes: self.account_codes.renewed(limits.account_codes),
            phone_calls: self.phone_calls.renewed(limits.phone_calls),
            phone_calls_per_person: self.phone_calls_per_person.renewed(limits.phone_calls_per_person),
            token_lookups: self.token_lookups.renewed(limits.phone_calls),
            refreshes: Arc::clone(&self.refreshes),
            polls: Arc::clone(&self.polls),
            refused_entries: Arc::clone(&self.refused_entries),
            streams: Streams {
                limit: limits.waiting_streams,
                open: Arc::clone(&self.streams.open),
            },
        }
    }

    /// How many streams wait, of all addresses.
    pub fn waiting_streams(&self) -> usize {
        let open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().map(|count| *count as usize).sum()
    }

    /// One login page for this address (a /64 for IPv6).
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn login_page(&self, address: IpAddr) -> Result<(), TooMany> {
        self.login_pages.take(&address)
    }

    /// One code of a service account for this address: each costs a call, of which the account has so many a day.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn account_code(&self, address: IpAddr) -> Result<(), TooMany> {
        self.account_codes.take(&address)
    }

    /// A hand-off's code was none, or WeChat's. That counts tenfold: nine pages more.
    pub fn wrong_code(&self, address: IpAddr) {
        self.login_pages.take_nine(&address);
    }

    /// One phone call from this address.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn phone_call(&self, address: IpAddr) -> Result<(), TooMany> {
        self.phone_calls.take(&address)
    }

    /// A forged scene or a wrong proof counts tenfold: nine more, whatever the answer to this one.
    pub fn forgery(&self, address: IpAddr) {
        self.phone_calls.take_nine(&address);
    }

    /// One exchange of this session's refresh token.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn refresh(&self, session: &str) -> Result<(), TooMany> {
        self.refreshes.take(&session.to_owned())
    }

    /// One look at this ticket.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn poll(&self, scene: &Scene) -> Result<(), TooMany> {
        self.polls.take(&scene.number())
    }

    /// Whether no refused start of this ticket has been written down yet, at this node.
    pub fn is_first_refusal(&self, scene: &Scene) -> bool {
        self.refused_entries.take(&scene.number()).is_ok()
    }

    /// One token of this address that memory does not vouch for.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn token_lookup(&self, address: IpAddr) -> Result<(), TooMany> {
        self.token_lookups.take(&address)
    }

    /// It was none. That counts tenfold: nine more.
    pub fn wrong_token(&self, address: IpAddr) {
        self.token_lookups.take_nine(&address);
    }

    /// One phone call of this person (openid).
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn person_call(&self, openid: &str) -> Result<(), TooMany> {
        self.phone_calls_per_person.take(&openid.to_owned())
    }

    /// A place for a waiting stream; `None` when this address has too many, and the page polls.
    pub fn stream(&self, address: IpAddr) -> Option<StreamPlace> {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&address).copied().unwrap_or(0) >= self.streams.limit {
            return None;
        }
        *open.entry(address).or_insert(0) += 1;
        Some(StreamPlace {
            address,
            open: Arc::clone(&self.streams.open),
        })
    }

    /// Forgets addresses that have their full allowance again.
    pub fn sweep(&self) {
        self.login_pages.limiter.retain_recent();
        self.account_codes.limiter.retain_recent();
        self.phone_calls.limiter.retain_recent();
        self.phone_calls_per_person.limiter.retain_recent();
        self.token_lookups.limiter.retain_recent();
        self.refreshes.limiter.retain_recent();
        self.polls.limiter.retain_recent();
        self.refused_entries.limiter.retain_recent();
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[derive(Debug)]
struct Bucket<K: Hash + Eq + Clone> {
    rate: settings::Rate,
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Streams {
    limit: u32,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl<K: Hash + Eq + Clone> Bucket<K> {
    fn new(rate: settings::Rate) -> Self {
        Self::with_burst(rate, NonZeroU32::new(rate.count).unwrap_or(NonZeroU32::MIN))
    }

    fn with_burst(rate: settings::Rate, burst: NonZeroU32) -> Self {
        let count = NonZeroU32::new(rate.count).unwrap_or(NonZeroU32::MIN);
        let every = rate.period / count.get();
        let quota = Quota::with_period(every)
            .unwrap_or(Quota::per_second(count))
            .allow_burst(burst);
        let clock = DefaultClock::default();
        Self {
            rate,
            limiter: RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock.clone()),
            clock,
        }
    }

    fn renewed(self: &Arc<Self>, rate: settings::Rate) -> Arc<Self> {
        if self.rate == rate {
            Arc::clone(self)
        } else {
            Arc::new(Self::new(rate))
        }
    }

    fn take(&self, key: &K) -> Result<(), TooMany> {
        let limited = |until: NotUntil<_>| TooMany::until(until.wait_time_from(self.clock.now()));
        self.limiter.check_key(key).map_err(limited)
    }

    /// One by one: nine at once would take nothing where fewer are left, and leave those to the next attempts.
    fn take_nine(&self, key: &K) {
        let _ = (0..9).try_for_each(|_| self.take(key));
    }
}

/// An access token lives for an hour.
const REFRESHES: settings::Rate = settings::Rate {
    count: 1,
    period: Duration::from_secs(60),
};
const REFRESHES_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Several times as often as the page asks by itself, with and without JavaScript.
const POLLS: settings::Rate = settings::Rate {
    count: 2,
    period: Duration::from_secs(1),
};
/// Waking up, coming back and a new picture come together; several tabs have a ticket each.
const POLLS_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// In the life of a ticket, which the configuration keeps below.
const ONCE: settings::Rate = settings::Rate {
    count: 1,
    period: Duration::from_secs(3_600),
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::login::scene::{SceneKey, SceneKeys};

    fn limits() -> Limits {
        let rate = |count| settings::Rate {
            count,
            period: Duration::from_secs(60),
        };
        Limits::new(&settings::Limits {
            login_pages: rate(3),
            account_codes: rate(2),
            phone_calls: rate(20),
            phone_calls_per_person: rate(2),
            waiting_streams: 2,
            request_headers: 1,
            request_body: None,
        })
    }

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));

    #[test]
    fn address_is_told_when_to_come_back_and_another_is_not_touched() {
        let limits = limits();
        for _ in 0..3 {
            limits.login_page(ONE).unwrap();
        }
        let TooMany { retry_after } = limits.login_page(ONE).unwrap_err();
        assert!(
            (Duration::from_secs(1)..=Duration::from_secs(20)).contains(&retry_after),
            "{retry_after:?}"
        );
        limits.login_page(TWO).unwrap();
    }

    #[test]
    fn codes_of_an_account_are_counted_apart() {
        let limits = limits();
        limits.account_code(ONE).unwrap();
        limits.account_code(ONE).unwrap();
        assert!(limits.account_code(ONE).is_err());
        limits.account_code(TWO).unwrap();
        limits.login_page(ONE).unwrap();
    }

    #[test]
    fn forged_scene_counts_tenfold() {
        let limits = limits();
        for _ in 0..2 {
            limits.phone_call(ONE).unwrap();
            limits.forgery(ONE);
        }
        assert!(limits.phone_call(ONE).is_err());
    }

    #[test]
    fn wrong_token_counts_tenfold_and_leaves_phones_alone() {
        let limits = limits();
        for _ in 0..2 {
            limits.token_lookup(ONE).unwrap();
            limits.wrong_token(ONE);
        }
        assert!(limits.token_lookup(ONE).is_err());
        limits.token_lookup(TWO).unwrap();
        limits.phone_call(ONE).unwrap();
    }

    #[test]
    fn looks_at_one_ticket_are_limited_and_another_is_not_touched() {
        let limits = limits();
        let scenes = SceneKeys::new(vec![SceneKey::new(1, 0, b"key")]);
        let (one, two) = (scenes.mint("staff", 100).unwrap(), scenes.mint("staff", 100).unwrap());
        let answered = (0..100).filter(|_| limits.poll(&one).is_ok()).count();
        assert!((20..30).contains(&answered), "{answered}");
        limits.poll(&two).unwrap();
        assert!(limits.is_first_refusal(&one) && limits.is_first_refusal(&two));
        assert!(!limits.is_first_refusal(&one));
    }

    #[test]
    fn person_is_limited_across_addresses() {
        let limits = limits();
        limits.person_call("o1").unwrap();
        limits.person_call("o1").unwrap();
        assert!(limits.person_call("o1").is_err());
        limits.person_call("o2").unwrap();
    }

    #[test]
    fn stream_place_comes_back_when_it_is_dropped() {
        let limits = limits();
        let (one, _two) = (limits.stream(ONE).unwrap(), limits.stream(ONE).unwrap());
        assert!(limits.stream(ONE).is_none());
        drop(one);
        assert!(limits.stream(ONE).is_some());
    }
}
