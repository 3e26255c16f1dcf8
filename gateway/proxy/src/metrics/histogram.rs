// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Durations in Envoy's default buckets, milliseconds.

use super::Number;
use std::time::Duration;

/// Upper ends, milliseconds.
pub(crate) const BUCKETS: [f64; 19] = [
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
pub(crate) struct Histogram {
    counts: [Number; BUCKETS.len() + 1],
    micros: Number,
}

/// A histogram at one moment, or several added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistogramValues {
    /// Not cumulative; the last is everything above the last bucket.
    pub(crate) counts: [u64; BUCKETS.len() + 1],
    /// Sum of all, microseconds.
    pub(crate) micros: u64,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let millis = duration.as_secs_f64() * 1000.0;
        let bucket = BUCKETS.partition_point(|&end| end < millis);
        if let Some(count) = self.counts.get(bucket) {
            count.increment();
        }
        self.micros.add(micros);
    }

    /// Adds the numbers to `values`.
    pub(crate) fn add_to(&self, values: &mut HistogramValues) {
        for (sum, count) in values.counts.iter_mut().zip(&self.counts) {
            *sum += count.get();
        }
        values.micros = values.micros.wrapping_add(self.micros.get());
    }
}
