// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A token bucket for each source, in bounded memory.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use tokio::time::Instant;

/// Sources remembered; past it, full buckets are forgotten first.
const SOURCES: usize = 16_384;

pub(super) struct Throttle<K> {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Throttle<K> {
    pub(super) fn new(burst: u32, per_second: f64) -> Self {
        Self { burst: f64::from(burst), per_second, buckets: Mutex::default() }
    }

    /// Takes a token of the source; false where it has none left.
    pub(super) fn admit(&self, source: K, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= SOURCES && !buckets.contains_key(&source) {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
            if buckets.len() >= SOURCES {
                return false;
            }
        }
        let bucket = buckets.entry(source).or_insert(Bucket { tokens: self.burst, at: now });
        let tokens = self.filled(*bucket, now);
        let admitted = tokens >= 1.0;
        *bucket = Bucket { tokens: if admitted { tokens - 1.0 } else { tokens }, at: now };
        admitted
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let earned = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.tokens + earned).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::{SOURCES, Throttle};
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_source_earns_its_tokens_back() {
        let throttle = Throttle::new(2, 1.0);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(throttle.admit(1, at(0)) && throttle.admit(1, at(0)) && !throttle.admit(1, at(0)));
        assert!(throttle.admit(2, at(0)), "another source has its own");
        assert!(throttle.admit(1, at(1)) && !throttle.admit(1, at(1)));
        for source in 3..SOURCES + 100 {
            throttle.admit(source, at(1));
        }
        assert!(throttle.buckets.lock().len() <= SOURCES);
        assert!(throttle.admit(usize::MAX, at(4)), "idle sources are forgotten");
    }
}
