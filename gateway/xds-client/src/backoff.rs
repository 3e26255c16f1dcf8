// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting times between attempts: doubling, with jitter, bounded.

use rand::RngExt;
use std::time::Duration;

/// Waiting times between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, doubles up to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next waiting time: between half of the step and the whole of it, so that a fleet does not come back in step.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step / 2) && pause <= Duration::from_millis(step),
                "{pause:?}"
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
