//! Whether an upstream address is fit to be sent requests.
//!
//! Two witnesses: requests that could not connect (three in a row let it rest for ten seconds), and the health check
//! where one is configured (two bad answers in a row until one good). Neither blocks anybody: when no address is fit,
//! all are tried, because a wrong verdict must not turn a slow application into a dead one.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What is known about one address. Times are milliseconds of any clock that only goes forward.
#[derive(Debug, Default)]
pub(super) struct Condition {
    failures: AtomicU32,
    rests_until: AtomicU64,
    probe_failures: AtomicU32,
    probed_ill: AtomicBool,
}

impl Condition {
    /// Whether it should be sent requests at `now`.
    pub(super) fn is_fit(&self, now: u64) -> bool {
        !self.probed_ill.load(Ordering::Relaxed) && self.rests_until.load(Ordering::Relaxed) <= now
    }

    /// A request was connected.
    pub(super) fn connected(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request could not be connected. True when the address rests from now on.
    pub(super) fn refused(&self, now: u64) -> bool {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < REFUSALS {
            return false;
        }
        // One more after the rest sends it back at once: it has proven nothing yet.
        self.failures.store(REFUSALS - 1, Ordering::Relaxed);
        let was = self.rests_until.fetch_max(now + REST, Ordering::Relaxed);
        was <= now
    }

    /// The health check has answered. `Some(fit)` when that changes the verdict.
    pub(super) fn probed(&self, well: bool) -> Option<bool> {
        if well {
            self.probe_failures.store(0, Ordering::Relaxed);
            return self.probed_ill.swap(false, Ordering::Relaxed).then_some(true);
        }
        let failures = self.probe_failures.fetch_add(1, Ordering::Relaxed) + 1;
        (failures >= BAD_PROBES && !self.probed_ill.swap(true, Ordering::Relaxed)).then_some(false)
    }
}

/// Connections refused in a row.
const REFUSALS: u32 = 3;
/// Milliseconds.
const REST: u64 = 10_000;
/// Bad answers of the health check in a row.
const BAD_PROBES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_refusal_in_a_row_lets_it_rest_and_a_success_between_does_not() {
        let condition = Condition::default();
        assert!(!condition.refused(0));
        assert!(!condition.refused(0));
        condition.connected();
        assert!(!condition.refused(0));
        assert!(!condition.refused(0));
        assert!(condition.is_fit(0));
        assert!(condition.refused(0));
        assert!(!condition.is_fit(REST - 1));
        assert!(condition.is_fit(REST));
    }

    #[test]
    fn after_the_rest_one_more_refusal_is_enough() {
        let condition = Condition::default();
        for _ in 0..REFUSALS {
            condition.refused(0);
        }
        assert!(condition.refused(REST));
        assert!(!condition.is_fit(2 * REST - 1));
    }

    #[test]
    fn health_check_takes_two_bad_answers_to_condemn_and_one_good_to_pardon() {
        let condition = Condition::default();
        assert_eq!(condition.probed(false), None);
        assert!(condition.is_fit(0));
        assert_eq!(condition.probed(false), Some(false));
        assert!(!condition.is_fit(0));
        assert_eq!(condition.probed(false), None);
        assert_eq!(condition.probed(true), Some(true));
        assert!(condition.is_fit(0));
        assert_eq!(condition.probed(true), None);
    }
}
