// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How fast bodies go (`envoy.extensions.filters.http.bandwidth_limit.v3`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A limit for the bodies of all requests of one place, over all workers.
#[derive(Debug, PartialEq)]
pub struct BandwidthLimit {
    /// Prefix of its statistics.
    pub stat_prefix: Box<str>,
    /// Bodies of requests are slowed down.
    pub requests: Option<Bandwidth>,
    /// Bodies of answers are slowed down.
    pub responses: Option<Bandwidth>,
}

/// Bytes in time, without a lock: the number is when all bytes so far may have gone.
#[derive(Debug)]
pub struct Bandwidth {
    /// Bytes in a second, above zero.
    rate: u64,
    /// What may go at once, in time.
    burst: Duration,
    /// Nanoseconds on the caller's clock.
    free_at: AtomicU64,
}

impl Bandwidth {
    /// `rate` bytes in a second; as many as go in `burst` may go at once.
    #[must_use]
    pub fn new(rate: u64, burst: Duration) -> Self {
        Self { rate: rate.max(1), burst, free_at: AtomicU64::new(0) }
    }

    /// How long to wait before so many bytes more go; `now` is the time on a clock that all callers share.
    #[must_use]
    pub fn wait(&self, now: Duration, bytes: usize) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let took =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(self.rate);
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        let now = nanos(now);
        let before = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| {
            Some(free_at.max(now).saturating_add(took))
        });
        let free_at = before.unwrap_or_default().max(now).saturating_add(took);
        Duration::from_nanos(free_at - now).saturating_sub(self.burst)
    }
}

impl PartialEq for Bandwidth {
    /// The same settings.
    fn eq(&self, other: &Self) -> bool {
        (self.rate, self.burst) == (other.rate, other.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::Bandwidth;
    use std::time::Duration;

    #[test]
    fn bytes_wait_for_those_before_them() {
        let at = Duration::from_millis;
        let limit = Bandwidth::new(1000, at(50));
        assert_eq!(limit.wait(at(0), 50), at(0));
        assert_eq!(limit.wait(at(0), 100), at(100));
        assert_eq!(limit.wait(at(100), 100), at(100));
        // What nobody used is gone.
        assert_eq!(limit.wait(at(5000), 150), at(100));
    }
}
