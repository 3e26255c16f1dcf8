// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a load prints: one line of JSON.

use std::time::Duration;

/// Durations of all operations of a load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    micros: Vec<u32>,
    errors: u64,
}

impl Report {
    /// Counts an operation.
    pub(crate) fn add(&mut self, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Counts an operation that failed.
    pub(crate) fn fail(&mut self) {
        self.errors += 1;
    }

    /// Prints rate, number and percentiles.
    pub(crate) fn print(mut self, took: Duration) -> anyhow::Result<()> {
        self.micros.sort_unstable();
        let count = self.micros.len();
        let at = |share: f64| self.micros.get((count as f64 * share) as usize).copied().unwrap_or_default();
        let line = serde_json::json!({
            "rps": count as f64 / took.as_secs_f64(), "n": count, "errors": self.errors,
            "p50": at(0.5), "p99": at(0.99), "p999": at(0.999),
        });
        std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes())?;
        Ok(())
    }
}
