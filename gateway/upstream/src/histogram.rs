// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Durations in Envoy's default buckets, milliseconds; written by any worker without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets, milliseconds (Envoy's default).
pub const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// How often each duration was seen.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// A histogram at one moment, or several added up.
#[derive(Clone, Debug, Default)]
pub struct HistogramValues {
    /// Not cumulative; the last is everything above the last bucket.
    pub counts: [u64; BUCKETS.len() + 1],
    /// Sum of all, microseconds.
    pub micros: u64,
}

/// The bucket of a duration, its last one included.
#[must_use]
pub fn bucket_of(duration: Duration) -> usize {
    let millis = duration.as_secs_f64() * 1000.0;
    BUCKETS.partition_point(|&end| end < millis)
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        if let Some(count) = self.counts.get(bucket_of(duration)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The numbers now.
    #[must_use]
    pub fn values(&self) -> HistogramValues {
        let mut values = HistogramValues::default();
        for (sum, count) in values.counts.iter_mut().zip(&self.counts) {
            *sum = count.load(Ordering::Relaxed);
        }
        values.micros = self.micros.load(Ordering::Relaxed);
        values
    }
}

impl HistogramValues {
    /// How many durations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, milliseconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a sum above 2^53 microseconds is not worth more")]
    pub fn sum_millis(&self) -> f64 {
        self.micros as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket_of};
    use std::time::Duration;

    #[test]
    fn durations_fall_into_their_bucket() {
        for (micros, bucket) in [(0, 0), (500, 0), (501, 1), (1000, 1), (1001, 2), (u64::MAX / 2, 19)] {
            assert_eq!(bucket_of(Duration::from_micros(micros)), bucket, "{micros}");
        }
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        histogram.observe(Duration::from_millis(3));
        let values = histogram.values();
        assert_eq!((values.counts[2], values.count()), (2, 2));
        assert!((values.sum_millis() - 5.0).abs() < 1e-9);
    }
}
