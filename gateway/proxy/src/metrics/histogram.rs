// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Durations in Envoy's default buckets, written by one worker.

use super::Number;
use gateway_upstream::{BUCKETS, HistogramValues, bucket_of};
use std::time::Duration;

/// How often each duration was seen.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [Number; BUCKETS.len() + 1],
    micros: Number,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn observe(&self, duration: Duration) {
        if let Some(count) = self.counts.get(bucket_of(duration)) {
            count.increment();
        }
        self.micros.add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds the numbers to `values`.
    pub(crate) fn add_to(&self, values: &mut HistogramValues) {
        for (sum, count) in values.counts.iter_mut().zip(&self.counts) {
            *sum += count.get();
        }
        values.micros = values.micros.wrapping_add(self.micros.get());
    }
}
