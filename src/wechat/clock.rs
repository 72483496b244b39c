//! Time as the clients see it: injectable, so that a token's two hours pass in a test without waiting.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

/// Where the time comes from.
#[async_trait]
pub(crate) trait Clock: fmt::Debug + Send + Sync {
    /// Monotonic.
    fn now(&self) -> Instant;

    /// Of the calendar: quotas end by it and WeChat's timestamps are compared with it.
    fn calendar(&self) -> SystemTime;

    /// Waits.
    async fn sleep(&self, length: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

/// When an operation with all its retries must be over.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Instant,
}

/// Feeds a clock to the rate limiter.
#[derive(Debug, Clone)]
pub(crate) struct LimiterClock(pub(crate) Arc<dyn Clock>);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn calendar(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn sleep(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

impl Deadline {
    pub(crate) fn after(clock: Arc<dyn Clock>, budget: Duration) -> Self {
        let at = clock.now() + budget;
        Self { clock, at }
    }

    /// What is left; zero when it is over.
    pub(crate) fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(self.clock.now())
    }

    /// One that leaves half of what is left to whatever comes after.
    pub(crate) fn half(&self) -> Self {
        Self::after(Arc::clone(&self.clock), self.remaining() / 2)
    }

    /// Waits, if anything is left afterwards to use; says whether it did.
    pub(crate) async fn pause(&self, length: Duration) -> bool {
        if length >= self.remaining() {
            return false;
        }
        self.clock.sleep(length).await;
        true
    }
}

impl governor::clock::Clock for LimiterClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// A clock that stands until it is moved. Sleeping moves it at once.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct ManualClock {
    start: Instant,
    calendar: SystemTime,
    elapsed: std::sync::Mutex<Duration>,
}

#[cfg(test)]
impl ManualClock {
    /// Starts at this Unix time, in seconds.
    pub(crate) fn at(unix: u64) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            calendar: SystemTime::UNIX_EPOCH + Duration::from_secs(unix),
            elapsed: std::sync::Mutex::default(),
        })
    }

    pub(crate) fn advance(&self, length: Duration) {
        *self.lock() += length;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.elapsed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn calendar(&self) -> SystemTime {
        self.calendar + self.elapsed()
    }

    async fn sleep(&self, length: Duration) {
        self.advance(length);
    }
}
