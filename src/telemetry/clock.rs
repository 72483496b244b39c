//! The one clock: Unix seconds, as every token, ticket and row counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// The system's clock with an offset that tests move.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// Unix seconds, as of the kernel's last tick: some milliseconds late, for a fifth of the price. A request asks
    /// several times.
    pub fn now(&self) -> i64 {
        let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        now.saturating_add(self.offset.load(Ordering::Relaxed))
    }

    /// Moves this clock and all its clones by so many seconds.
    pub fn advance(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::Relaxed);
    }
}
