// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rate limits that this process keeps alone, over all its workers.

use crate::{Fraction, HeaderMutations};
use http::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A limit (`envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`).
#[derive(Debug, PartialEq)]
pub struct LocalRateLimit {
    /// Prefix of its statistics.
    pub stat_prefix: Box<str>,
    /// Answer of a request above the limit.
    pub status: StatusCode,
    /// The tokens; none: no limit.
    pub bucket: Option<TokenBucket>,
    /// Share of requests that are counted.
    pub enabled: Fraction,
    /// Share of these that are refused.
    pub enforced: Fraction,
    /// Headers of refused requests' answers.
    pub response_headers: HeaderMutations,
    /// Headers of requests that go on although above the limit.
    pub not_enforced_headers: HeaderMutations,
    /// Answers tell the limit in `x-ratelimit-*` (draft version 3).
    pub rate_limit_headers: bool,
    /// Refusals tell when to come back (`retry-after`).
    pub retry_after: bool,
    /// gRPC clients get RESOURCE_EXHAUSTED instead of UNAVAILABLE.
    pub resource_exhausted: bool,
}

/// A bucket that fills continuously; one for all workers, without a lock.
///
/// The state is one number: the time at which the bucket would have been empty had it filled ever since. Tokens are the time since
/// then, divided by the time for one token.
#[derive(Debug)]
pub struct TokenBucket {
    max_tokens: u32,
    nanos_per_token: u64,
    /// Nanoseconds on the caller's clock.
    empty_at: AtomicU64,
}

/// What a bucket says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was a token.
    pub allowed: bool,
    /// Whole tokens that are left.
    pub remaining: u32,
    /// Until the next token, where there is none now.
    pub next: Duration,
}

impl TokenBucket {
    /// A full bucket that holds `max_tokens` and gains `tokens` each `interval`; neither may be zero.
    #[must_use]
    pub fn new(max_tokens: u32, tokens: u32, interval: Duration) -> Self {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self {
            max_tokens,
            nanos_per_token: (nanos / u64::from(tokens.max(1))).max(1),
            empty_at: AtomicU64::new(0),
        }
    }

    /// The most tokens it holds.
    #[must_use]
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// Takes a token; `now` is the time on a clock that never goes back and that all callers share. It starts full however old the clock is.
    #[must_use]
    pub fn take(&self, now: Duration) -> Taken {
        let capacity = self.nanos_per_token.saturating_mul(u64::from(self.max_tokens));
        // Shifted, so that a bucket is full at the clock's zero.
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2).saturating_add(capacity);
        let mut empty_at = self.empty_at.load(Ordering::Relaxed);
        loop {
            let start = empty_at.max(now.saturating_sub(capacity));
            let after = start.saturating_add(self.nanos_per_token);
            if after > now {
                let next = Duration::from_nanos(after - now);
                return Taken { allowed: false, remaining: 0, next };
            }
            match self.empty_at.compare_exchange_weak(empty_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let left = (now - after) / self.nanos_per_token;
                    let next =
                        Duration::from_nanos(self.nanos_per_token - (now - after) % self.nanos_per_token);
                    return Taken { allowed: true, remaining: u32::try_from(left).unwrap_or(u32::MAX), next };
                }
                Err(other) => empty_at = other,
            }
        }
    }
}

impl PartialEq for TokenBucket {
    /// The same settings; how full they are does not matter.
    fn eq(&self, other: &Self) -> bool {
        (self.max_tokens, self.nanos_per_token) == (other.max_tokens, other.nanos_per_token)
    }
}

#[cfg(test)]
mod tests {
    use super::TokenBucket;
    use std::time::Duration;

    #[test]
    fn a_bucket_starts_full_and_fills_steadily() {
        for start in [0_u64, 7, 100_000] {
            let at = |millis: u64| Duration::from_secs(start) + Duration::from_millis(millis);
            let bucket = TokenBucket::new(3, 1, Duration::from_secs(1));
            let got: Vec<_> = (0..4).map(|_| bucket.take(at(0))).map(|t| (t.allowed, t.remaining)).collect();
            assert_eq!(got, [(true, 2), (true, 1), (true, 0), (false, 0)], "from {start}");
            assert_eq!(bucket.take(at(400)).next, Duration::from_millis(600));
            assert!(!bucket.take(at(999)).allowed);
            assert!(bucket.take(at(1000)).allowed);
            assert!(!bucket.take(at(1001)).allowed);
            // Never more than it holds, however long nobody came.
            let got = (0..10).filter(|_| bucket.take(at(3_600_000)).allowed).count();
            assert_eq!(got, 3);
        }
    }

    #[test]
    fn threads_share_the_tokens() {
        let bucket = TokenBucket::new(1000, 1, Duration::from_secs(3600));
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(Duration::from_secs(5)).allowed).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
