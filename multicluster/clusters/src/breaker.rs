// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Circuit breaker and backoff of one cluster. Pure.

use rand::RngExt as _;
use std::time::Duration;

/// Counts failures in a row. Open: callers are turned away at once; only the actor's own probe goes through, and its success
/// closes it.
#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    failures: u32,
    open: bool,
}

impl Breaker {
    pub(crate) fn new(threshold: u32) -> Self {
        Self { threshold: threshold.max(1), failures: 0, open: true }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn success(&mut self) {
        self.failures = 0;
        self.open = false;
    }

    /// A caller's failure. True when this one opened it.
    pub(crate) fn failure(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = !self.open && self.failures >= self.threshold;
        self.open |= opens;
        opens
    }

    /// A probe's failure opens it at once.
    pub(crate) fn trip(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.open = true;
    }
}

/// Exponential backoff with jitter over the upper half: attempt 1 waits `base`/2 to `base`.
pub(crate) fn backoff(base: Duration, max: Duration, attempt: u32) -> Duration {
    let full = base.saturating_mul(1u32 << attempt.saturating_sub(1).min(16)).min(max);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_on_success() {
        let mut breaker = Breaker::new(3);
        assert!(breaker.is_open(), "nobody calls a cluster that was never seen");
        breaker.success();
        assert!(!breaker.failure());
        assert!(!breaker.failure());
        breaker.success();
        assert!(!breaker.failure());
        assert!(!breaker.failure());
        assert!(breaker.failure());
        assert!(breaker.is_open());
        assert!(!breaker.failure(), "opens once");
    }

    #[test]
    fn backoff_grows_is_jittered_and_bounded() {
        let (base, max) = (Duration::from_secs(1), Duration::from_secs(30));
        for attempt in 1..100 {
            let wait = backoff(base, max, attempt);
            let full = base.saturating_mul(1 << (attempt - 1).min(16)).min(max);
            assert!(wait >= full / 2 && wait <= full, "attempt {attempt}: {wait:?}");
        }
        let many: std::collections::BTreeSet<_> = (0..50).map(|_| backoff(base, max, 6)).collect();
        assert!(many.len() > 1, "no jitter");
    }
}
