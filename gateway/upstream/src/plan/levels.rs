// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Priorities: how much of the load each one takes, by Envoy's rules for overprovisioning, degraded hosts and panic.

use crate::host::HostHealth;
use crate::view::ClusterView;
use std::collections::BTreeMap;

/// Hosts of one priority and health that take a part of the load.
#[derive(Debug)]
pub(super) struct Level {
    /// Percent of the requests; all levels add up to 100.
    pub(super) load: u32,
    /// All hosts are in because too few are healthy.
    pub(super) panic: bool,
    /// It is the first priority, and these are its healthy hosts.
    pub(super) first: bool,
    pub(super) hosts: Vec<usize>,
    /// All hosts of the priority.
    pub(super) all: Vec<usize>,
}

/// Hosts of one priority by health, as positions in the view.
#[derive(Debug, Default)]
struct Tier {
    healthy: Vec<usize>,
    degraded: Vec<usize>,
    /// How many do not count: they were not checked yet, or asked to be left alone.
    excluded: usize,
    all: Vec<usize>,
}

impl Tier {
    fn counted(&self) -> usize {
        self.all.len() - self.excluded
    }

    fn panics(&self, threshold: usize) -> bool {
        let percent = |part: usize| (part * 100).checked_div(self.counted()).unwrap_or(0);
        percent(self.healthy.len()) + percent(self.degraded.len()) < threshold
    }
}

fn tiers(view: &ClusterView, hosts: &[usize]) -> Vec<Tier> {
    let mut by_priority = BTreeMap::<u32, Tier>::new();
    for &at in hosts {
        let Some(host) = view.hosts.get(at) else { continue };
        let tier = by_priority.entry(host.priority).or_default();
        tier.all.push(at);
        match host.health() {
            HostHealth::Healthy => tier.healthy.push(at),
            HostHealth::Degraded => tier.degraded.push(at),
            HostHealth::Excluded => tier.excluded += 1,
            HostHealth::Unhealthy => {}
        }
    }
    by_priority.into_values().collect()
}

/// Percent of all requests that healthy hosts are good for, and that degraded ones are; each up to 100.
pub(super) fn capacity(view: &ClusterView, hosts: &[usize]) -> (u32, u32) {
    let factor = view.overprovisioning() as usize;
    let tiers = tiers(view, hosts);
    let sum = |kind: fn(&Tier) -> usize| {
        let parts =
            tiers.iter().map(|tier| (kind(tier) * factor).checked_div(tier.counted()).unwrap_or(0).min(100));
        u32::try_from(parts.sum::<usize>().min(100)).unwrap_or(100)
    };
    (sum(|tier| tier.healthy.len()), sum(|tier| tier.degraded.len()))
}

/// The levels that take load. Where hosts are healthy enough each priority takes its healthy share times the overprovisioning factor, and
/// what is left goes on to the next; degraded hosts come after all healthy ones. Else priorities below the panic threshold use all of
/// their hosts, and where all of them are below it, each takes its part by its number of hosts.
pub(super) fn levels(view: &ClusterView, hosts: &[usize]) -> Vec<Level> {
    let mut tiers = tiers(view, hosts);
    let factor = view.overprovisioning() as usize;
    let share = |part: usize, all: usize| {
        let percent = (part * factor).checked_div(all).unwrap_or(0);
        u32::try_from(percent).unwrap_or(100).min(100)
    };
    let healthy: Vec<u32> = tiers.iter().map(|tier| share(tier.healthy.len(), tier.counted())).collect();
    let degraded: Vec<u32> = tiers.iter().map(|tier| share(tier.degraded.len(), tier.counted())).collect();
    let available = healthy.iter().chain(&degraded).sum::<u32>().min(100);
    let threshold = usize::from(view.cluster.balancing.panic_threshold);
    let panics: Vec<bool> = tiers.iter().map(|tier| available < 100 && tier.panics(threshold)).collect();
    if !panics.is_empty() && panics.iter().all(|panic| *panic) {
        return total_panic(tiers);
    }
    if available == 0 {
        return Vec::new();
    }
    let mut loads: Vec<u32> = Vec::new();
    let mut left = 100;
    for part in healthy.iter().chain(&degraded) {
        let load = (part * 100 / available).min(left);
        left -= load;
        loads.push(load);
    }
    // What rounding left over goes to the first that takes anything.
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    let mut found = Vec::new();
    for (at, load) in loads.iter().enumerate().filter(|(_, load)| **load > 0) {
        let number = at % tiers.len();
        let Some(tier) = tiers.get_mut(number) else { continue };
        let panic = panics.get(number).copied().unwrap_or_default();
        let hosts = match (panic, at < healthy.len()) {
            (true, _) => tier.all.clone(),
            (false, true) => std::mem::take(&mut tier.healthy),
            (false, false) => std::mem::take(&mut tier.degraded),
        };
        found.push(Level { load: *load, panic, first: at == 0 && !panic, hosts, all: tier.all.clone() });
    }
    found
}

fn total_panic(tiers: Vec<Tier>) -> Vec<Level> {
    let total: usize = tiers.iter().map(|tier| tier.all.len()).sum();
    let mut left = 100;
    let mut found = Vec::new();
    for tier in tiers.into_iter().filter(|tier| !tier.all.is_empty()) {
        let load = u32::try_from(tier.all.len() * 100 / total.max(1)).unwrap_or(100).min(left);
        left -= load;
        found.push(Level { load, panic: true, first: false, hosts: tier.all.clone(), all: tier.all });
    }
    if let Some(first) = found.iter_mut().find(|level| level.load > 0) {
        first.load += left;
    }
    found.retain(|level| level.load > 0);
    found
}
