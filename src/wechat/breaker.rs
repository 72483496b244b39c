//! Which calls are pointless for a while.
//!
//! When WeChat's answer depends on the installation alone (wrong secret, address not listed, quota spent), asking again
//! for every login gains nothing, burns quota and looks like an attack. The endpoint then rests, and every refusal in
//! the meantime carries the answer that began the rest, with its remedy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::wechat::clock::Clock;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{Refusal, WechatError};

/// The pauses of one AppID.
#[derive(Debug)]
pub(crate) struct Breaker {
    clock: Arc<dyn Clock>,
    pauses: Mutex<HashMap<Endpoint, (Instant, Refusal)>>,
}

impl Breaker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            pauses: Mutex::default(),
        }
    }

    /// Whether this endpoint may be called now.
    pub(crate) fn admit(&self, endpoint: Endpoint) -> Result<(), WechatError> {
        let now = self.clock.now();
        let mut pauses = self.lock();
        match pauses.get(&endpoint) {
            Some((until, cause)) if now < *until => Err(WechatError::Paused {
                retry_after: *until - now,
                cause: cause.clone(),
            }),
            Some(_) => {
                pauses.remove(&endpoint);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Begins a pause if the answer calls for one.
    pub(crate) fn record<T>(&self, result: Result<T, WechatError>) -> Result<T, WechatError> {
        if let Err(error @ WechatError::Refused(refusal)) = &result
            && let Some(length) = refusal.pause().length(self.clock.calendar())
        {
            let mut pauses = self.lock();
            let now = self.clock.now();
            // Calls that were under way together are refused together: one line in the log is enough.
            if pauses.get(&refusal.endpoint).is_some_and(|(until, _)| now < *until) {
                return result;
            }
            pauses.insert(refusal.endpoint, (now + length, refusal.clone()));
            drop(pauses);
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
        result
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, (Instant, Refusal)>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use super::*;
    use crate::wechat::clock::ManualClock;

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
        assert!(breaker.record(refused(Endpoint::StableToken, 40164)).is_err());
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
            let _ = breaker.record(refused(Endpoint::CodeToSession, code));
            assert!(breaker.admit(Endpoint::CodeToSession).is_ok(), "{code}");
        }
    }
}
