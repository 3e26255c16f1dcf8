// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How often a trapped plugin is started again: at once a few times, then after doubling pauses.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Traps within [`WINDOW`] that are forgiven at once.
const FORGIVEN: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Counts traps of one plugin on one worker.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    traps: VecDeque<Instant>,
    rest: Duration,
    until: Option<Instant>,
}

impl Breaker {
    /// Notes a trap, or a start that failed.
    pub(crate) fn trapped(&mut self, now: Instant) {
        while self.traps.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            self.traps.pop_front();
        }
        if self.traps.is_empty() {
            self.rest = Duration::ZERO;
        }
        self.traps.push_back(now);
        if self.traps.len() >= FORGIVEN {
            self.traps.truncate(FORGIVEN);
            self.rest = (self.rest * 2).clamp(FIRST_REST, LONGEST_REST);
            self.until = Some(now + self.rest);
        }
    }

    /// How long no start may be tried; none: now.
    pub(crate) fn resting(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|rest| !rest.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::Breaker;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn five_traps_in_a_minute_bring_doubling_rests_and_a_quiet_minute_ends_them() {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        for _ in 0..4 {
            breaker.trapped(now);
            assert_eq!(breaker.resting(now), None);
        }
        for seconds in [1, 2, 4, 8] {
            breaker.trapped(now);
            assert_eq!(breaker.resting(now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(breaker.resting(now), None);
        }
        now += Duration::from_secs(120);
        breaker.trapped(now);
        assert_eq!(breaker.resting(now), None);
    }
}
