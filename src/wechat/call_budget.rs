//! How often a call is made, so that nobody uses up in a minute what WeChat gives an account for a day.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::wechat::clock::{Clock, LimiterClock};
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::WechatError;

/// The budget of one call of one account: a token bucket (GCRA) of this node.
#[derive(Debug)]
pub(super) struct CallBudget {
    endpoint: Endpoint,
    limiter: RateLimiter<NotKeyed, InMemoryState, LimiterClock, NoOpMiddleware<Instant>>,
    clock: LimiterClock,
    said: Mutex<Option<Instant>>,
}

impl CallBudget {
    pub(super) fn new(endpoint: Endpoint, quota: Quota, clock: &Arc<dyn Clock>) -> Self {
        let clock = LimiterClock(Arc::clone(clock));
        Self {
            endpoint,
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            said: Mutex::default(),
        }
    }

    /// Takes one call out of it.
    pub(super) fn take(&self) -> Result<(), WechatError> {
        self.limiter.check().map_err(|until| {
            let now = self.clock.now();
            self.say(now);
            WechatError::RateLimited {
                endpoint: self.endpoint,
                retry_after: until.wait_time_from(now),
            }
        })
    }

    /// One line in a while: whoever empties it could fill the log as well.
    fn say(&self, now: Instant) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| now.saturating_duration_since(said) >= BETWEEN_LINES) {
            *said = Some(now);
            drop(said);
            tracing::warn!(endpoint = %self.endpoint, "more calls are asked for than the account has: not all are made");
        }
    }
}

const BETWEEN_LINES: Duration = Duration::from_secs(60);
