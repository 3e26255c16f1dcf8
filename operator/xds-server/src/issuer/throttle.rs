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
    pub(super) fn admit(&self, source: K) -> bool {
        let now = Instant::now();
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

    #[tokio::test(start_paused = true)]
    async fn a_source_earns_its_tokens_back() {
        let throttle = Throttle::new(2, 1.0);
        assert!(throttle.admit(1) && throttle.admit(1) && !throttle.admit(1));
        assert!(throttle.admit(2), "another source has its own");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(throttle.admit(1) && !throttle.admit(1));
        for source in 3..SOURCES + 100 {
            throttle.admit(source);
        }
        assert!(throttle.buckets.lock().len() <= SOURCES);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(throttle.admit(usize::MAX), "idle sources are forgotten");
    }
}
