// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A bucket of tokens, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

    /// How long it takes to gain one token.
    #[must_use]
    pub fn nanos_per_token(&self) -> u64 {
        self.nanos_per_token
    }

    /// A full one with the same settings.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { empty_at: AtomicU64::new(0), ..*self }
    }

    /// Takes `tokens`, all or none; `now` is the time on a clock that never goes back and that all callers share. It starts full however old the clock is.
    #[must_use]
    pub fn take(&self, now: Duration, tokens: u64) -> Taken {
        let capacity = self.nanos_per_token.saturating_mul(u64::from(self.max_tokens));
        // Shifted, so that a bucket is full at the clock's zero.
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2).saturating_add(capacity);
        let cost = self.nanos_per_token.saturating_mul(tokens);
        let mut empty_at = self.empty_at.load(Ordering::Relaxed);
        loop {
            let start = empty_at.max(now.saturating_sub(capacity));
            let after = start.saturating_add(cost);
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
            let got: Vec<_> =
                (0..4).map(|_| bucket.take(at(0), 1)).map(|t| (t.allowed, t.remaining)).collect();
            assert_eq!(got, [(true, 2), (true, 1), (true, 0), (false, 0)], "from {start}");
            assert_eq!(bucket.take(at(400), 1).next, Duration::from_millis(600));
            assert!(!bucket.take(at(999), 1).allowed);
            assert!(bucket.take(at(1000), 1).allowed);
            assert!(!bucket.take(at(1001), 1).allowed);
            // Never more than it holds, however long nobody came.
            let got = (0..10).filter(|_| bucket.take(at(3_600_000), 1).allowed).count();
            assert_eq!(got, 3);
            // All that is asked for, or nothing.
            assert!(!bucket.take(at(3_602_000), 3).allowed);
            assert!(bucket.take(at(3_602_000), 2).allowed);
        }
    }

    #[test]
    fn threads_share_the_tokens() {
        let bucket = TokenBucket::new(1000, 1, Duration::from_secs(3600));
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(Duration::from_secs(5), 1).allowed).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
