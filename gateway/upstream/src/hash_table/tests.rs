// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Distribution, weights, small disruption and bounds of hash tables.

use super::{HashTable, HashedHost, walk};
use gateway_config::{Balancing, HashFunction, Hashing};

const RING: Balancing = Balancing::RingHash {
    min_size: 4096,
    max_size: 1 << 20,
    function: HashFunction::Xx,
    hashing: Hashing { by_hostname: false, balance_factor: None },
};
const MAGLEV: Balancing =
    Balancing::Maglev { table_size: 65_537, hashing: Hashing { by_hostname: false, balance_factor: None } };

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.0.0.{at}:8080")).collect()
}

fn table(policy: Balancing, names: &[String], weights: &[f64]) -> HashTable {
    let total: f64 = weights.iter().sum();
    let hosts: Vec<_> =
        names.iter().zip(weights).map(|(key, weight)| HashedHost { key, share: weight / total }).collect();
    HashTable::build(policy, &hosts).unwrap()
}

fn pick(table: &HashTable, hash: u64) -> usize {
    table.pick(hash, 0, |_| 0, || 0)
}

fn hashes() -> impl Iterator<Item = u64> {
    (0..20_000_u64).map(|at| crate::hash::hash_key(&at.to_le_bytes()))
}

#[test]
fn hosts_get_their_shares() {
    let names = names(5);
    for policy in [RING, MAGLEV] {
        for weights in [[1.0; 5], [1.0, 2.0, 3.0, 4.0, 10.0]] {
            let table = table(policy, &names, &weights);
            let mut counts = [0.0; 5];
            hashes().for_each(|hash| counts[pick(&table, hash)] += 1.0);
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = count / 20_000.0 * total / weight;
                assert!((0.75..1.25).contains(&share), "{policy:?} {weights:?} {counts:?}");
            }
        }
    }
}

/// With the same number of points for each host a ring moves nothing else; Envoy fills up to the smallest size, so here a part moves.
#[test]
fn a_host_that_goes_moves_little_but_its_own() {
    let all = names(10);
    let fewer: Vec<String> = all.iter().filter(|name| *name != "10.0.0.4:8080").cloned().collect();
    for (policy, allowed) in [(RING, 0.15), (MAGLEV, 0.05)] {
        let (before, after) = (table(policy, &all, &[1.0; 10]), table(policy, &fewer, &[1.0; 9]));
        let (mut moved, mut kept) = (0.0, 0.0);
        for hash in hashes() {
            let (was, is) = (&all[pick(&before, hash)], &fewer[pick(&after, hash)]);
            if was != "10.0.0.4:8080" {
                kept += 1.0;
                moved += f64::from(u8::from(was != is));
            }
        }
        assert!(moved / kept <= allowed, "{policy:?} moved {moved} of {kept}");
    }
}

#[test]
fn the_order_of_hosts_does_not_matter() {
    let all = names(7);
    let turned: Vec<String> = all.iter().rev().cloned().collect();
    for policy in [RING, MAGLEV] {
        let (a, b) = (table(policy, &all, &[1.0; 7]), table(policy, &turned, &[1.0; 7]));
        let same = hashes().filter(|hash| all[pick(&a, *hash)] == turned[pick(&b, *hash)]).count();
        assert!(same >= 19_990, "{policy:?} {same}");
    }
}

#[test]
fn another_attempt_may_find_another_host() {
    for policy in [RING, MAGLEV] {
        let table = table(policy, &names(4), &[1.0; 4]);
        let other = hashes().take(100).filter(|hash| {
            (1..5).any(|attempt| table.pick(*hash, attempt, |_| 0, || 0) != pick(&table, *hash))
        });
        assert!(other.count() > 90);
    }
}

#[test]
fn a_busy_host_gives_requests_away() {
    let Balancing::Maglev { table_size, .. } = MAGLEV else { panic!("not maglev") };
    let bounded =
        Balancing::Maglev { table_size, hashing: Hashing { by_hostname: false, balance_factor: Some(120) } };
    let table = table(bounded, &names(4), &[1.0; 4]);
    let own = pick(&table, 42);
    // 40 requests on 4 hosts: 13 each at most.
    let busy = |limit: u32| move |host: usize| if host == own { limit } else { 9 };
    assert_eq!(table.pick(42, 0, busy(13), || 40), own);
    let other = table.pick(42, 0, busy(14), || 40);
    assert_ne!(other, own);
    assert_eq!(table.pick(42, 0, busy(14), || 40), other);
}

#[test]
fn a_walk_comes_by_everyone_once() {
    for count in 1..40 {
        for seed in 0..50 {
            let mut seen: Vec<_> = walk(seed, count).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
