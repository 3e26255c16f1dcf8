// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which host takes a request: priorities, health and panic first, then the cluster's policy.

use crate::picker::Picker;
use crate::view::ClusterView;
use gateway_config::EndpointHealth;

/// The choice of hosts for one worker; rebuilt when health changes.
#[derive(Debug)]
pub(crate) struct Balancer {
    epoch: u64,
    groups: Vec<Group>,
}

/// Hosts of one priority and health that share the load.
#[derive(Debug)]
struct Group {
    /// Percent of the requests.
    load: u32,
    panic: bool,
    picker: Picker,
}

/// What picking found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Position in the view's hosts.
    pub(crate) host: usize,
    /// The group is picked from as a whole because too few of it are healthy.
    pub(crate) panic: bool,
}

/// Hosts of one priority by health, as positions in the view.
#[derive(Debug, Default)]
struct Tier {
    healthy: Vec<usize>,
    degraded: Vec<usize>,
    all: Vec<usize>,
}

impl Balancer {
    pub(crate) fn new(view: &ClusterView, epoch: u64) -> Self {
        let tiers = tiers(view);
        let groups = groups(view, &tiers).into_iter().map(|(load, panic, hosts)| {
            let weighted =
                hosts.into_iter().map(|host| (host, view.hosts.get(host).map_or(1, |h| h.weight))).collect();
            Group { load, panic, picker: Picker::new(view.cluster.balancing, weighted) }
        });
        Self { epoch, groups: groups.collect() }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Picks a host, preferring one that `avoid` does not hold for.
    pub(crate) fn pick(
        &mut self,
        view: &ClusterView,
        avoid: impl Fn(usize) -> bool,
        attempts: u32,
    ) -> Option<Choice> {
        let at = self.choose_group()?;
        let group = self.groups.get_mut(at)?;
        let active = |host: usize| view.hosts.get(host).map_or(0, |h| h.state.active());
        let mut choice = group.picker.pick(active)?;
        for _ in 0..attempts {
            if !avoid(choice) {
                break;
            }
            choice = group.picker.pick(active)?;
        }
        if avoid(choice) {
            // A small group is searched whole: a random policy may have met the same host each time.
            choice = group.picker.hosts().find(|&host| !avoid(host)).unwrap_or(choice);
        }
        Some(Choice { host: choice, panic: group.panic })
    }

    fn choose_group(&self) -> Option<usize> {
        if self.groups.len() <= 1 {
            return (!self.groups.is_empty()).then_some(0);
        }
        let mut left = rand::random_range(0..self.groups.iter().map(|g| g.load).sum::<u32>().max(1));
        for (at, group) in self.groups.iter().enumerate() {
            if left < group.load {
                return Some(at);
            }
            left -= group.load;
        }
        Some(0)
    }
}

fn tiers(view: &ClusterView) -> Vec<Tier> {
    let mut by_priority = std::collections::BTreeMap::<u32, Tier>::new();
    for (at, host) in view.hosts.iter().enumerate() {
        let tier = by_priority.entry(host.priority).or_default();
        tier.all.push(at);
        match host.health {
            _ if host.state.is_ejected() => {}
            EndpointHealth::Healthy => tier.healthy.push(at),
            EndpointHealth::Degraded => tier.degraded.push(at),
            EndpointHealth::Draining | EndpointHealth::Unhealthy => {}
        }
    }
    by_priority.into_values().collect()
}

/// How many hosts take requests now.
pub(crate) fn healthy_count(view: &ClusterView) -> usize {
    view.hosts
        .iter()
        .filter(|host| host.health == EndpointHealth::Healthy && !host.state.is_ejected())
        .count()
}

/// Envoy's priority levels: each one takes its healthy share times the overprovisioning factor, the rest goes on to the next one;
/// degraded hosts come after all healthy ones. Only where all together cannot take everything, the panic threshold is looked at.
fn groups(view: &ClusterView, tiers: &[Tier]) -> Vec<(u32, bool, Vec<usize>)> {
    let factor = view.endpoints.as_ref().map_or(140, |endpoints| endpoints.overprovisioning.max(100));
    let share = |part: usize, all: usize| {
        let percent = (part * factor as usize).checked_div(all).unwrap_or(0);
        u32::try_from(percent).unwrap_or(100).min(100)
    };
    let classes = || tiers.iter().map(|t| (t, &t.healthy)).chain(tiers.iter().map(|t| (t, &t.degraded)));
    let available: u32 = classes().map(|(tier, hosts)| share(hosts.len(), tier.all.len())).sum();
    let threshold = usize::from(view.cluster.panic_threshold);
    let panics = |tier: &Tier| {
        available < 100 && (tier.healthy.len() + tier.degraded.len()) * 100 < threshold * tier.all.len()
    };
    if available == 0 {
        let first = tiers.iter().find(|tier| !tier.all.is_empty() && panics(tier));
        return first.map(|tier| vec![(100, true, tier.all.clone())]).unwrap_or_default();
    }
    let mut left = 100;
    let mut found = Vec::new();
    for (tier, hosts) in classes() {
        let load = (share(hosts.len(), tier.all.len()) * 100).div_ceil(available.min(100)).min(left);
        if load > 0 {
            left -= load;
            let panic = panics(tier);
            found.push((load, panic, if panic { tier.all.clone() } else { hosts.clone() }));
        }
    }
    found
}
