// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Lines about what clients can cause: one a minute at the most, with the number of those that were left out.

use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

const PACE: Duration = Duration::from_secs(60);

/// Paces one kind of line on one worker.
#[derive(Debug, Default)]
pub(crate) struct LogPace {
    last: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

impl LogPace {
    /// Whether a line may be written now, and how many were not since the last one.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        if self.last.get().is_some_and(|last| now - last < PACE) {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::{LogPace, PACE};
    use tokio::time::Instant;

    #[test]
    fn one_line_a_minute_tells_how_many_others_there_were() {
        let (pace, start) = (LogPace::default(), Instant::now());
        assert_eq!(pace.due_at(start), Some(0));
        assert_eq!((pace.due_at(start), pace.due_at(start + PACE / 2)), (None, None));
        assert_eq!(pace.due_at(start + PACE), Some(2));
        assert_eq!(pace.due_at(start + PACE), None);
    }
}
