//! Which calls are pointless for a while.
//!
//! When WeChat's answer depends on the installation alone (wrong secret, address not listed, quota spent), asking again
//! for every login gains nothing, burns quota and looks like an attack. The endpoint then rests, and every refusal in
//! the meantime carries the answer that began the rest, with its remedy.
//!
//! A minute's quota fills again by itself: when it has, everybody calls. Whether an operator has repaired something is
//! found out by one call, and the others wait for what becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wechat::clock::Clock;
use crate::wechat::codes::{Class, Pause};
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{Refusal, WechatError};

/// The pauses of one AppID.
#[derive(Debug)]
pub(crate) struct Breaker {
    clock: Arc<dyn Clock>,
    rests: Mutex<HashMap<Endpoint, Rest>>,
}

/// A call that is not made for a while, or only once to see.
#[derive(Debug)]
struct Rest {
    until: Instant,
    cause: Refusal,
    /// Somebody calls at this moment to see whether the cause is gone.
    tried: bool,
}

impl Breaker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            rests: Mutex::default(),
        }
    }

    /// Whether this endpoint may be called now.
    pub(crate) fn admit(&self, endpoint: Endpoint) -> Result<(), WechatError> {
        let now = self.clock.now();
        let mut rests = self.lock();
        let Some(rest) = rests.get_mut(&endpoint) else {
            return Ok(());
        };
        if now < rest.until {
            return Err(WechatError::Paused {
                retry_after: rest.until - now,
                cause: rest.cause.clone(),
            });
        }
        if rest.cause.pause() == Pause::NextMinute {
            rests.remove(&endpoint);
        } else {
            rest.tried = true;
            rest.until = now + TRIAL;
        }
        Ok(())
    }

    /// Begins a rest if the answer of this endpoint calls for one, and ends one if it shows that the cause is gone.
    pub(crate) fn record<T>(&self, endpoint: Endpoint, result: Result<T, WechatError>) -> Result<T, WechatError> {
        match &result {
            Err(error @ WechatError::Refused(refusal)) => match refusal.pause().length(self.clock.calendar()) {
                Some(length) => self.rest(refusal, length, error),
                None => self.answered(endpoint, !matches!(refusal.class(), Class::Busy | Class::TokenRejected)),
            },
            Err(_) => self.answered(endpoint, false),
            Ok(_) => self.answered(endpoint, true),
        }
        result
    }

    /// The calls that rest now, each with the answer that began it.
    pub(crate) fn resting(&self) -> Vec<Refusal> {
        let now = self.clock.now();
        let rests = self.lock();
        let lasting = rests
            .values()
            .filter(|rest| now < rest.until || rest.cause.pause() != Pause::NextMinute);
        lasting.map(|rest| rest.cause.clone()).collect()
    }

    fn rest(&self, refusal: &Refusal, length: Duration, error: &WechatError) {
        let now = self.clock.now();
        let mut rests = self.lock();
        // Calls that were under way together are refused together: one line in the log is enough.
        if rests
            .get(&refusal.endpoint)
            .is_some_and(|rest| now < rest.until && !rest.tried)
        {
            return;
        }
        let rest = Rest {
            until: now + length,
            cause: refusal.clone(),
            tried: false,
        };
        rests.insert(refusal.endpoint, rest);
        drop(rests);
        tracing::warn!(
            endpoint = %refusal.endpoint,
            code = refusal.code,
            name = refusal.name(),
            rid = refusal.rid.as_deref(),
            pause_s = length.as_secs(),
            remedy = %error.remedy(),
            "WeChat refuses this installation; not calling again for a while"
        );
    }

    /// The end of a trial. What was no answer, or one that came before the question, says nothing: the next call tries.
    fn answered(&self, endpoint: Endpoint, to_the_question: bool) {
        let mut rests = self.lock();
        let Some(rest) = rests.get_mut(&endpoint).filter(|rest| rest.tried) else {
            return;
        };
        if !to_the_question {
            rest.until = self.clock.now();
            return;
        }
        rests.remove(&endpoint);
        drop(rests);
        tracing::info!(%endpoint, "WeChat no longer refuses this installation");
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Rest>> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After this a trial of which nothing was heard is given up: its caller is gone.
const TRIAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::wechat::clock::ManualClock;
    use crate::wechat::error::TransportFailure;

    fn refused(endpoint: Endpoint, code: i64) -> Result<(), WechatError> {
        Err(WechatError::Refused(Refusal {
            endpoint,
            code,
            rid: None,
            address: None,
        }))
    }

    #[test]
    fn a_permanent_refusal_rests_its_endpoint_for_a_minute() {
        let clock = ManualClock::at(1_790_000_000);
        let breaker = Breaker::new(clock.clone());
        assert!(
            breaker
                .record(Endpoint::StableToken, refused(Endpoint::StableToken, 40164))
                .is_err()
        );
        clock.advance(Duration::from_secs(59));
        let Err(WechatError::Paused { retry_after, cause }) = breaker.admit(Endpoint::StableToken) else {
            panic!("admitted")
        };
        assert_eq!((retry_after, cause.code), (Duration::from_secs(1), 40164));
        assert!(breaker.admit(Endpoint::CodeToSession).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(breaker.admit(Endpoint::StableToken).is_ok());
    }

    #[test]
    fn a_refusal_of_one_person_or_one_code_rests_nothing() {
        let breaker = Breaker::new(ManualClock::at(1_790_000_000));
        for code in [-1, 40029, 40163, 40226, 45011, 31337] {
            let _ = breaker.record(Endpoint::CodeToSession, refused(Endpoint::CodeToSession, code));
            assert!(breaker.admit(Endpoint::CodeToSession).is_ok(), "{code}");
        }
    }

    const TOKEN: Endpoint = Endpoint::StableToken;

    /// Refused, and the minute is over.
    fn rested() -> (Arc<ManualClock>, Breaker) {
        let clock = ManualClock::at(1_790_000_000);
        let breaker = Breaker::new(clock.clone());
        let _ = breaker.record(TOKEN, refused(TOKEN, 40164));
        clock.advance(Duration::from_secs(60));
        (clock, breaker)
    }

    #[test]
    fn one_call_tries_whether_an_operator_has_acted_and_the_others_wait() {
        let (clock, breaker) = rested();
        assert!(breaker.admit(TOKEN).is_ok());
        for _ in 0..3 {
            assert!(matches!(breaker.admit(TOKEN), Err(WechatError::Paused { .. })));
        }
        // Nothing was repaired: the next minute begins.
        let _ = breaker.record(TOKEN, refused(TOKEN, 40164));
        clock.advance(Duration::from_secs(59));
        assert!(breaker.admit(TOKEN).is_err());
        clock.advance(Duration::from_secs(1));
        assert!(breaker.admit(TOKEN).is_ok());
        // It was.
        let _ = breaker.record(TOKEN, Ok(()));
        for _ in 0..3 {
            assert!(breaker.admit(TOKEN).is_ok());
        }
        assert!(breaker.resting().is_empty());
    }

    #[test]
    fn a_trial_that_came_to_nothing_leaves_the_next_call_to_try() {
        let silence = || {
            let failure = TransportFailure::TimedOut { answered: false };
            Err::<(), _>(WechatError::Transport {
                endpoint: TOKEN,
                failure,
            })
        };
        for nothing in [silence(), refused(TOKEN, -1)] {
            let (_clock, breaker) = rested();
            breaker.admit(TOKEN).unwrap();
            let _ = breaker.record(TOKEN, nothing);
            assert!(breaker.admit(TOKEN).is_ok());
            assert!(breaker.admit(TOKEN).is_err(), "two try at once");
        }
        // Its caller is gone, and tells nothing.
        let (clock, breaker) = rested();
        breaker.admit(TOKEN).unwrap();
        clock.advance(TRIAL);
        assert!(breaker.admit(TOKEN).is_ok());
        assert_eq!(breaker.resting().len(), 1);
    }

    #[test]
    fn everybody_calls_again_in_the_minute_after_a_minutes_quota() {
        let clock = ManualClock::at(1_790_000_000);
        let breaker = Breaker::new(clock.clone());
        let codes = Endpoint::UnlimitedCode;
        let _ = breaker.record(codes, refused(codes, 45009));
        clock.advance(Duration::from_secs(41));
        assert!(breaker.admit(codes).is_err());
        clock.advance(Duration::from_secs(1));
        for _ in 0..3 {
            assert!(breaker.admit(codes).is_ok());
        }
    }
}
