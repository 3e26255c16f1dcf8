// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Places of one worker between picks: whose turn it is, evenly or by weight.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A place between picks.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    next: Option<usize>,
    deadlines: Option<Deadlines>,
}

impl Cursor {
    /// The next of `count`. Workers start at different ones, so that the first requests after a change do not all meet the same host.
    pub(crate) fn turn(&mut self, count: usize) -> Option<usize> {
        let last = count.checked_sub(1)?;
        let at = self.next.unwrap_or_else(|| rand::random_range(0..count)).min(last);
        self.next = Some(if at == last { 0 } else { at + 1 });
        Some(at)
    }

    /// The next of `count` by weight; `weight` is asked when a turn is over.
    pub(crate) fn weighted(&mut self, count: usize, weight: impl Fn(usize) -> f64) -> Option<usize> {
        self.deadlines.get_or_insert_with(|| Deadlines::new(count, &weight)).pick(weight)
    }
}

/// Earliest deadline first: as smooth as weights allow, O(log n).
#[derive(Debug)]
struct Deadlines {
    heap: BinaryHeap<Reverse<Turn>>,
    /// Turns with the same deadline come in the order in which they were made.
    made: u64,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    deadline: f64,
    made: u64,
    at: usize,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline.total_cmp(&other.deadline).then(self.made.cmp(&other.made))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

fn step(weight: f64) -> f64 {
    1.0 / weight.max(1e-9)
}

impl Deadlines {
    /// Begins somewhere, so that workers do not all begin with the same host.
    fn new(count: usize, weight: &impl Fn(usize) -> f64) -> Self {
        let longest = (0..count).map(|at| step(weight(at))).fold(0.0, f64::max);
        let begin = rand::random::<f64>() * longest;
        let mut heap = BinaryHeap::with_capacity(count);
        for (made, at) in (0_u64..).zip(0..count) {
            let step = step(weight(at));
            heap.push(Reverse(Turn { deadline: begin + step - begin % step, made, at }));
        }
        Self { heap, made: count as u64 }
    }

    fn pick(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let mut top = self.heap.peek_mut()?;
        let Reverse(turn) = *top;
        // Sifts down where the top is let go.
        *top =
            Reverse(Turn { deadline: turn.deadline + step(weight(turn.at)), made: self.made, at: turn.at });
        self.made += 1;
        Some(turn.at)
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    fn counts(weights: &[f64], picks: usize) -> Vec<usize> {
        let mut cursor = Cursor::default();
        let mut seen = vec![0; weights.len()];
        for _ in 0..picks {
            seen[cursor.weighted(weights.len(), |at| weights[at]).unwrap()] += 1;
        }
        seen
    }

    #[test]
    fn turns_are_exact() {
        let mut cursor = Cursor::default();
        let mut seen = [0; 3];
        (0..30).for_each(|_| seen[cursor.turn(3).unwrap()] += 1);
        assert_eq!(seen, [10, 10, 10]);
        for (got, wanted) in counts(&[1.0, 2.0, 5.0], 800).into_iter().zip([100_usize, 200, 500]) {
            assert!(got.abs_diff(wanted) <= 2, "{got} for {wanted}");
        }
        assert_eq!((cursor.turn(0), Cursor::default().weighted(0, |_| 1.0)), (None, None));
    }

    #[test]
    fn weighted_turns_are_smooth() {
        let mut cursor = Cursor::default();
        let weights = [1.0, 3.0];
        let picks: Vec<_> = (0..400).map(|_| cursor.weighted(2, |at| weights[at]).unwrap()).collect();
        for window in picks.windows(4) {
            assert!(window.contains(&1) && window.iter().filter(|&&h| h == 0).count() <= 2, "{window:?}");
        }
    }
}
