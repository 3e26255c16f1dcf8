// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Health checks of the gateway itself by what stands before it.

use crate::HeaderMatcher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which requests are health checks, and who answers them (`envoy.extensions.filters.http.health_check.v3.HealthCheck`).
#[derive(Debug, PartialEq)]
pub struct GatewayHealth {
    /// All must hold.
    pub headers: Box<[HeaderMatcher]>,
    /// Who answers.
    pub mode: GatewayHealthMode,
}

/// Who answers health checks.
#[derive(Debug, PartialEq)]
pub enum GatewayHealthMode {
    /// The gateway, by the share of available endpoints in percent that each of these clusters must have.
    Answer(Box<[(Box<str>, u32)]>),
    /// The upstream, whose answer may be given again for a while.
    PassThrough(Option<HealthCache>),
}

/// An upstream's last answer to a health check, for all workers.
#[derive(Debug)]
pub struct HealthCache {
    time: Duration,
    start: Instant,
    /// The end of its time in milliseconds from the start, then a bit for degraded, then 10 bits of status; 0: none yet.
    last: AtomicU64,
}

const STATUS_BITS: u32 = 10;
const STATUS: u64 = (1 << STATUS_BITS) - 1;
const DEGRADED: u64 = 1 << STATUS_BITS;

impl HealthCache {
    /// Empty; an answer counts for `time`.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self { time, start: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Takes an upstream's answer.
    pub fn keep(&self, now: Instant, status: u16, degraded: bool) {
        let end = millis(now.saturating_duration_since(self.start).saturating_add(self.time));
        let degraded = if degraded { DEGRADED } else { 0 };
        let packed = end << (STATUS_BITS + 1) | degraded | (u64::from(status) & STATUS);
        self.last.store(packed, Ordering::Relaxed);
    }

    /// Status and whether it is degraded, while the last answer counts.
    #[must_use]
    pub fn get(&self, now: Instant) -> Option<(u16, bool)> {
        let last = self.last.load(Ordering::Relaxed);
        let status = u16::try_from(last & STATUS).ok().filter(|status| *status > 0)?;
        let current = millis(now.saturating_duration_since(self.start)) < last >> (STATUS_BITS + 1);
        current.then_some((status, last & DEGRADED != 0))
    }
}

/// Two caches are alike by their time: what they hold is not configuration.
impl PartialEq for HealthCache {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

/// Below 2^53, some 285,000 years.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min((1 << 53) - 1)
}

#[cfg(test)]
mod tests {
    use super::HealthCache;
    use std::time::{Duration, Instant};

    #[test]
    fn an_answer_counts_for_its_time() {
        let cache = HealthCache::new(Duration::from_secs(2));
        let now = Instant::now();
        assert_eq!(cache.get(now), None);
        cache.keep(now, 503, true);
        assert_eq!(cache.get(now + Duration::from_millis(1900)), Some((503, true)));
        assert_eq!(cache.get(now + Duration::from_millis(2100)), None);
        cache.keep(now + Duration::from_secs(3), 200, false);
        assert_eq!(cache.get(now + Duration::from_secs(4)), Some((200, false)));
    }
}
