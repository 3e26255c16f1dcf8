// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Consistent hashing: rings and Maglev tables, built as Envoy builds them, with bounded load.

use crate::hash::{hash_key, murmur2, seeded};
use gateway_config::{Balancing, HashFunction};
use std::fmt::Write;

/// Which host a hash belongs to. Hosts are positions in the list that the table was made from.
#[derive(Debug)]
pub(crate) struct HashTable {
    places: Places,
    /// Percent of the average load; none: no bound.
    bound: Option<u32>,
    shares: Box<[f64]>,
}

#[derive(Debug)]
enum Places {
    /// Points in ascending order, with their hosts.
    Ring(Box<[(u64, u32)]>),
    Maglev(Box<[u32]>),
}

/// A host for a table.
#[derive(Clone, Debug)]
pub(crate) struct HashedHost<'a> {
    /// What is hashed.
    pub(crate) key: &'a str,
    /// Its share of the load; all add up to 1.
    pub(crate) share: f64,
}

impl HashTable {
    /// The table of a hashing policy; none for other policies, or without hosts.
    pub(crate) fn build(policy: Balancing, hosts: &[HashedHost<'_>]) -> Option<Self> {
        let (places, hashing) = match policy {
            _ if hosts.is_empty() => return None,
            Balancing::RingHash { min_size, max_size, function, hashing } => {
                (Places::Ring(ring(hosts, (min_size, max_size), function)), hashing)
            }
            Balancing::Maglev { table_size, hashing } => (Places::Maglev(maglev(hosts, table_size)), hashing),
            Balancing::RoundRobin | Balancing::LeastRequest { .. } | Balancing::Random => return None,
        };
        let shares = hosts.iter().map(|host| host.share).collect();
        Some(Self { places, bound: hashing.balance_factor, shares })
    }

    /// The host of a hash. `active` tells how many requests a host handles, `all` how many the cluster does.
    pub(crate) fn pick(
        &self,
        hash: u64,
        attempt: u32,
        active: impl Fn(usize) -> u32,
        all: impl FnOnce() -> u64,
    ) -> usize {
        let chosen = self.place(hash, attempt);
        let Some(bound) = self.bound else { return chosen };
        let slots = ((all() + 1) * u64::from(bound)).div_ceil(100);
        #[allow(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        let load = |host: usize| {
            let share = self.shares.get(host).copied().unwrap_or_default();
            f64::from(active(host)) / (slots as f64 * share).ceil().max(1.0)
        };
        let mut best = (load(chosen), chosen);
        if best.0 <= 1.0 {
            return chosen;
        }
        // The other hosts in an order that only the hash decides.
        for other in walk(hash, self.shares.len()).filter(|other| *other != chosen) {
            let load = load(other);
            if load <= 1.0 {
                return other;
            }
            if load < best.0 {
                best = (load, other);
            }
        }
        best.1
    }

    fn place(&self, hash: u64, attempt: u32) -> usize {
        let host = match &self.places {
            Places::Ring(points) => {
                let at = points.partition_point(|(point, _)| *point < hash) + attempt as usize;
                points.get(at % points.len().max(1)).map(|(_, host)| *host)
            }
            Places::Maglev(table) => {
                let hash = if attempt > 0 { hash ^ (u64::MAX - u64::from(attempt) + 1) } else { hash };
                usize::try_from(hash % (table.len() as u64).max(1)).ok().and_then(|at| table.get(at)).copied()
            }
        };
        host.unwrap_or_default() as usize
    }
}

/// All numbers below `count`, in an order that `seed` decides: steps of a length that has no divisor in common with `count`.
fn walk(seed: u64, count: usize) -> impl Iterator<Item = usize> {
    let divisor = count.max(1) as u64;
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let start = (mixed >> 32) % divisor;
    let mut step = (mixed & 0xffff_ffff) % divisor;
    while greatest_common_divisor(step, divisor) != 1 {
        step = (step + 1) % divisor.max(2);
    }
    (0..divisor).map(move |at| usize::try_from((start + at * step) % divisor).unwrap_or_default())
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Points for each host by its share; the least host gets a whole number of them.
#[allow(clippy::cast_precision_loss, reason = "sizes are below 2^23")]
fn ring(hosts: &[HashedHost<'_>], (min, max): (u64, u64), function: HashFunction) -> Box<[(u64, u32)]> {
    let least = hosts.iter().map(|host| host.share).fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
    let scale = ((least * min as f64).ceil() / least).min(max as f64);
    let mut points = Vec::new();
    let (mut current, mut target) = (0.0, 0.0);
    let mut key = String::new();
    for (at, host) in (0_u32..).zip(hosts) {
        target += scale * host.share;
        let mut replica = 0_u64;
        while current < target {
            key.clear();
            // Writing into a String cannot fail.
            let _ = write!(key, "{}_{replica}", host.key);
            let hash = match function {
                HashFunction::Xx => hash_key(key.as_bytes()),
                HashFunction::Murmur2 => murmur2(key.as_bytes()),
            };
            points.push((hash, at));
            replica += 1;
            current += 1.0;
        }
    }
    points.sort_unstable();
    points.into()
}

/// Eisenbud et al., "Maglev", listing 1, with weights.
#[allow(clippy::cast_precision_loss, reason = "rounds are below 2^23")]
fn maglev(hosts: &[HashedHost<'_>], size: u64) -> Box<[u32]> {
    struct Entry {
        host: u32,
        next: u64,
        skip: u64,
        share: f64,
        target: f64,
    }
    const FREE: u32 = u32::MAX;
    let mut sorted: Vec<(u32, &HashedHost<'_>)> = (0..).zip(hosts).collect();
    sorted.sort_by(|a, b| a.1.key.cmp(b.1.key));
    let largest = hosts.iter().map(|host| host.share).fold(0.0, f64::max);
    let mut entries: Vec<Entry> = sorted
        .into_iter()
        .map(|(host, hashed)| Entry {
            host,
            next: hash_key(hashed.key.as_bytes()) % size,
            skip: seeded(hashed.key.as_bytes(), 1) % (size - 1) + 1,
            share: hashed.share,
            target: 0.0,
        })
        .collect();
    let mut table = vec![FREE; usize::try_from(size).unwrap_or_default()];
    let mut filled = 0;
    let mut round = 1.0;
    while filled < table.len() {
        for entry in &mut entries {
            if filled == table.len() {
                break;
            }
            if round * entry.share < entry.target {
                continue;
            }
            entry.target += largest;
            // The size is a prime: the steps come by every place.
            loop {
                let at = usize::try_from(entry.next).unwrap_or_default();
                entry.next = (entry.next + entry.skip) % size;
                if let Some(free) = table.get_mut(at).filter(|place| **place == FREE) {
                    *free = entry.host;
                    break;
                }
            }
            filled += 1;
        }
        round += 1.0;
    }
    table.into()
}

#[cfg(test)]
mod tests;
