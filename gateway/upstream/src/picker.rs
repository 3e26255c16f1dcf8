// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The balancing policies over one group of hosts: in turn, less busy, at random; all by weight.

use gateway_config::Balancing;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One host's turn comes every `STEP / weight`.
const STEP: u64 = 1 << 20;

/// Picks among hosts; positions are the caller's.
#[derive(Debug)]
pub(crate) struct Picker {
    hosts: Vec<usize>,
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    /// Equal weights, in turn.
    Turn(usize),
    /// Earliest deadline first: as smooth as weights allow, O(log n).
    Deadline(BinaryHeap<Reverse<(u64, usize)>>, Vec<u64>),
    /// Random; running sums of the weights, empty where all are equal.
    Random(Vec<u64>),
    /// The less busy of `choices` random ones.
    LeastRequest { choices: u32, sums: Vec<u64> },
}

impl Picker {
    pub(crate) fn new(balancing: Balancing, weighted: Vec<(usize, u32)>) -> Self {
        let equal = weighted.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let policy = match balancing {
            // Workers start at different hosts, so that the first requests after a change do not all meet the same one.
            Balancing::RoundRobin if equal => Policy::Turn(rand::random_range(0..weighted.len().max(1))),
            Balancing::RoundRobin => deadlines(&weighted),
            Balancing::Random => Policy::Random(sums(&weighted, equal)),
            Balancing::LeastRequest { choices } => {
                Policy::LeastRequest { choices: choices.max(1), sums: sums(&weighted, equal) }
            }
        };
        Self { hosts: weighted.into_iter().map(|(host, _)| host).collect(), policy }
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = usize> {
        self.hosts.iter().copied()
    }

    /// Picks a host; `active` tells how many requests a host is handling.
    pub(crate) fn pick(&mut self, active: impl Fn(usize) -> u32) -> Option<usize> {
        let at = match &mut self.policy {
            Policy::Turn(next) => {
                let at = *next;
                *next = (at + 1) % self.hosts.len().max(1);
                at
            }
            Policy::Deadline(heap, steps) => {
                let Reverse((deadline, at)) = heap.pop()?;
                heap.push(Reverse((deadline + steps.get(at).copied().unwrap_or(STEP), at)));
                at
            }
            Policy::Random(sums) => random(self.hosts.len(), sums)?,
            Policy::LeastRequest { choices, sums } => {
                let mut best: Option<(u32, usize)> = None;
                for _ in 0..*choices {
                    let at = random(self.hosts.len(), sums)?;
                    let busy = active(*self.hosts.get(at)?);
                    if best.is_none_or(|(least, _)| busy < least) {
                        best = Some((busy, at));
                    }
                }
                best?.1
            }
        };
        self.hosts.get(at).copied()
    }
}

fn deadlines(weighted: &[(usize, u32)]) -> Policy {
    let largest = weighted.iter().map(|(_, weight)| u64::from(*weight)).max().unwrap_or(1);
    // Weights beyond the step would all round to the same turn.
    let scale = largest.div_ceil(STEP).max(1);
    let steps: Vec<u64> =
        weighted.iter().map(|(_, weight)| STEP / (u64::from(*weight) / scale).max(1)).collect();
    let offset = rand::random_range(0..STEP);
    let heap =
        steps.iter().enumerate().map(|(at, step)| Reverse((offset % step.max(&1) + step, at))).collect();
    Policy::Deadline(heap, steps)
}

fn sums(weighted: &[(usize, u32)], equal: bool) -> Vec<u64> {
    if equal {
        return Vec::new();
    }
    let running = weighted.iter().scan(0, |sum, (_, weight)| {
        *sum += u64::from(*weight);
        Some(*sum)
    });
    running.collect()
}

fn random(count: usize, sums: &[u64]) -> Option<usize> {
    if count == 0 {
        return None;
    }
    match sums.last() {
        None => Some(rand::random_range(0..count)),
        Some(&total) => {
            let point = rand::random_range(0..total.max(1));
            Some(sums.partition_point(|&sum| sum <= point).min(count - 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Picker;
    use gateway_config::Balancing;
    use std::collections::BTreeMap;

    fn counts(balancing: Balancing, weights: &[u32], picks: usize) -> Vec<usize> {
        let mut picker = Picker::new(balancing, weights.iter().copied().enumerate().collect());
        let mut seen = BTreeMap::<usize, usize>::new();
        for _ in 0..picks {
            *seen.entry(picker.pick(|_| 0).unwrap()).or_default() += 1;
        }
        (0..weights.len()).map(|host| seen.get(&host).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn turns_are_exact() {
        assert_eq!(counts(Balancing::RoundRobin, &[1, 1, 1], 30), [10, 10, 10]);
        for (got, wanted) in
            counts(Balancing::RoundRobin, &[1, 2, 5], 800).into_iter().zip([100_usize, 200, 500])
        {
            assert!(got.abs_diff(wanted) <= 2, "{got} for {wanted}");
        }
    }

    #[test]
    fn weighted_turns_are_smooth() {
        let mut picker = Picker::new(Balancing::RoundRobin, vec![(0, 1), (1, 3)]);
        let picks: Vec<_> = (0..400).map(|_| picker.pick(|_| 0).unwrap()).collect();
        for window in picks.windows(4) {
            assert!(window.contains(&1) && window.iter().filter(|&&h| h == 0).count() <= 2, "{window:?}");
        }
    }

    #[test]
    fn random_follows_weights() {
        let got = counts(Balancing::Random, &[1, 9], 10_000);
        assert!((700..1300).contains(&got[0]), "{got:?}");
        let got = counts(Balancing::LeastRequest { choices: 2 }, &[1, 1], 1000);
        assert!(got[0] > 300 && got[1] > 300, "{got:?}");
    }

    #[test]
    fn the_less_busy_host_is_picked() {
        let mut picker = Picker::new(Balancing::LeastRequest { choices: 16 }, vec![(7, 1), (8, 1)]);
        for _ in 0..20 {
            assert_eq!(picker.pick(|host| if host == 7 { 5 } else { 0 }), Some(8));
        }
        assert_eq!(Picker::new(Balancing::RoundRobin, Vec::new()).pick(|_| 0), None);
    }
}
