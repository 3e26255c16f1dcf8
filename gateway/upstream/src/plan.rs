// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who may take requests at one state of health, with the tables for it: made once for each change, shared by all workers.

mod levels;
mod subsets;
#[cfg(test)]
mod tests;
mod zones;

use crate::hash_table::{HashTable, HashedHost};
use crate::view::ClusterView;
use gateway_config::{Balancing, LbMetadata, LocalityBalancing};
use levels::{Level, levels};
use subsets::SubsetIndex;
pub(crate) use zones::Zones;

/// The choice of hosts of a cluster.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) epoch: u64,
    /// The first is the whole cluster, the others are subsets.
    pub(crate) sets: Vec<HostSet>,
    subsets: Option<SubsetIndex>,
    /// Places that workers keep between picks.
    pub(crate) cursors: usize,
    /// Percent of all requests that healthy hosts of the cluster are good for, and degraded ones.
    pub(crate) capacity: (u32, u32),
}

/// Hosts that share requests between them.
#[derive(Debug, Default)]
pub(crate) struct HostSet {
    pub(crate) shares: Vec<Share>,
}

/// Hosts of one priority and health.
#[derive(Debug)]
pub(crate) struct Share {
    /// Percent of the requests.
    pub(crate) load: u32,
    /// All hosts are in because too few are healthy.
    pub(crate) panic: bool,
    pub(crate) spread: Spread,
}

/// How a share is divided.
#[derive(Debug)]
pub(crate) enum Spread {
    /// Not at all.
    Whole(Pool),
    /// The gateway's own locality first.
    Zones(Zones),
    /// Between localities by weight.
    Localities { cursor: usize, pools: Vec<(f64, Pool)> },
}

/// Hosts among which the policy picks.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) cursor: usize,
    /// Positions in the view, with weights.
    pub(crate) hosts: Box<[(usize, u32)]>,
    /// All weights are the same.
    pub(crate) even: bool,
    /// Running sums of the weights, where a random policy needs them.
    pub(crate) sums: Box<[u64]>,
    /// When the last host has its full share, on the cluster's clock; 0: all have.
    pub(crate) slow_until: u64,
    pub(crate) table: Option<HashTable>,
}

impl Plan {
    pub(crate) fn new(view: &ClusterView, epoch: u64) -> Self {
        let mut builder = Builder { view, cursors: 0 };
        let all: Vec<usize> = (0..view.hosts.len()).collect();
        let mut sets = vec![builder.set(&all, Weights::Full)];
        let subsets = view
            .cluster
            .balancing
            .subsets
            .as_ref()
            .map(|config| SubsetIndex::build(config, &mut builder, &mut sets));
        Self { epoch, sets, subsets, cursors: builder.cursors, capacity: levels::capacity(view, &all) }
    }

    /// The sets to pick from, one after the other until one gives a host.
    pub(crate) fn sets(&self, metadata: Option<&LbMetadata>) -> impl Iterator<Item = &HostSet> {
        let found = match &self.subsets {
            None => [Some(0), None],
            Some(index) => index.find(metadata),
        };
        found.into_iter().flatten().filter_map(|at| self.sets.get(at))
    }
}

/// Which weights of localities hold in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weights {
    /// As configured.
    Full,
    /// None.
    Ignored,
    /// Scaled by the share of the locality's hosts that are in the set.
    Scaled,
}

struct Builder<'a> {
    view: &'a ClusterView,
    cursors: usize,
}

impl Builder<'_> {
    fn set(&mut self, hosts: &[usize], weights: Weights) -> HostSet {
        let shares = levels(self.view, hosts).into_iter().map(|level| self.share(level, weights)).collect();
        HostSet { shares }
    }

    fn share(&mut self, level: Level, weights: Weights) -> Share {
        let Level { load, panic, first, hosts, all } = level;
        if let LocalityBalancing::ZoneAware(zone_aware) = self.view.cluster.balancing.localities {
            if panic && zone_aware.fail_on_panic {
                return Share { load, panic, spread: Spread::Whole(self.pool(&[], &[])) };
            }
            if let Some(zones) = zones::zones(self, &hosts, zone_aware).filter(|_| first) {
                return Share { load, panic, spread: Spread::Zones(zones) };
            }
        }
        let by_locality = self.view.cluster.balancing.localities == LocalityBalancing::Weighted
            && weights != Weights::Ignored;
        let places = if by_locality { self.places(&hosts, &all, weights) } else { Vec::new() };
        let hashes = matches!(
            self.view.cluster.balancing.policy,
            Balancing::RingHash { .. } | Balancing::Maglev { .. }
        );
        // Envoy: no locality is chosen in a panic.
        let spread = if places.is_empty() || (panic && !hashes) {
            Spread::Whole(self.pool(&hosts, &[]))
        } else if hashes {
            Spread::Whole(self.pool(&hosts, &places))
        } else {
            let cursor = self.cursor();
            let pools = places.into_iter().map(|(weight, hosts)| (weight, self.pool(&hosts, &[]))).collect();
            Spread::Localities { cursor, pools }
        };
        Share { load, panic, spread }
    }

    /// Localities with their weights, less where too few of their hosts are healthy.
    fn places(&self, hosts: &[usize], all: &[usize], weights: Weights) -> Vec<(f64, Vec<usize>)> {
        let factor = f64::from(self.view.overprovisioning()) / 100.0;
        let localities = self.view.endpoints.as_ref().map_or(&[][..], |endpoints| &endpoints.localities);
        let count = |list: &[usize], at: usize| -> f64 {
            let hosts = list.iter().filter_map(|host| self.view.hosts.get(*host));
            hosts.filter(|host| host.locality == at).map(|_| 1.0).sum()
        };
        let mut places = Vec::new();
        for (at, locality) in localities.iter().enumerate() {
            let inside: Vec<usize> = hosts
                .iter()
                .copied()
                .filter(|host| self.view.hosts.get(*host).is_some_and(|host| host.locality == at))
                .collect();
            let total = count(all, at);
            let Some(weight) = locality.weight.filter(|weight| *weight > 0 && total > 0.0) else { continue };
            let mut weight = f64::from(weight);
            if weights == Weights::Scaled {
                let everywhere: f64 = locality.endpoints.iter().map(|_| 1.0).sum();
                weight *= total / everywhere;
            }
            weight *= (factor * count(&inside, at) / total).min(1.0);
            if weight > 0.0 {
                places.push((weight, inside));
            }
        }
        places
    }

    /// Hosts that the policy picks from; a hash table is by locality where `places` are given.
    fn pool(&mut self, hosts: &[usize], places: &[(f64, Vec<usize>)]) -> Pool {
        let view = self.view;
        let weighted: Box<[(usize, u32)]> = match places {
            [] => hosts.iter().map(|at| (*at, view.hosts.get(*at).map_or(1, |host| host.weight))).collect(),
            places => places
                .iter()
                .flat_map(|(_, hosts)| hosts)
                .map(|at| (*at, view.hosts.get(*at).map_or(1, |host| host.weight)))
                .collect(),
        };
        let balancing = &view.cluster.balancing;
        let window =
            balancing.slow_start.map(|slow| u64::try_from(slow.window.as_millis()).unwrap_or(u64::MAX));
        let slow_until = window.map_or(0, |window| {
            let since = weighted.iter().filter_map(|(at, _)| view.hosts.get(*at)).map(|h| h.state.since());
            since.max().map_or(0, |since| since.saturating_add(window))
        });
        let even = weighted.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let running = weighted.iter().scan(0, |sum, (_, weight)| {
            *sum += u64::from(*weight);
            Some(*sum)
        });
        let sums =
            if balancing.policy == Balancing::Random && !even { running.collect() } else { Box::default() };
        Pool {
            cursor: self.cursor(),
            even,
            sums,
            slow_until,
            table: self.table(&weighted, places),
            hosts: weighted,
        }
    }

    fn table(&self, hosts: &[(usize, u32)], places: &[(f64, Vec<usize>)]) -> Option<HashTable> {
        let policy = self.view.cluster.balancing.policy;
        let by_hostname = match policy {
            Balancing::RingHash { hashing, .. } | Balancing::Maglev { hashing, .. } => hashing.by_hostname,
            _ => return None,
        };
        let total: f64 = places.iter().map(|(weight, _)| weight).sum();
        let sum = |list: &mut dyn Iterator<Item = u32>| list.map(f64::from).sum::<f64>().max(1.0);
        let weight_of = |at: usize| self.view.hosts.get(at).map_or(1, |host| host.weight);
        let mut shares = Vec::with_capacity(hosts.len());
        if places.is_empty() {
            let sum = sum(&mut hosts.iter().map(|(_, weight)| *weight));
            shares.extend(hosts.iter().map(|(_, weight)| f64::from(*weight) / sum));
        }
        for (weight, members) in places {
            let sum = sum(&mut members.iter().map(|at| weight_of(*at)));
            shares.extend(members.iter().map(|at| weight / total * f64::from(weight_of(*at)) / sum));
        }
        let keys: Vec<String> = hosts
            .iter()
            .map(|(at, _)| self.view.hosts.get(*at).map(|h| h.hash_key(by_hostname)).unwrap_or_default())
            .collect();
        let hashed: Vec<_> = keys.iter().zip(shares).map(|(key, share)| HashedHost { key, share }).collect();
        HashTable::build(policy, &hashed)
    }

    fn cursor(&mut self) -> usize {
        self.cursors += 1;
        self.cursors - 1
    }
}
