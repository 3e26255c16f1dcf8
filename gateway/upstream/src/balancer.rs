// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which host takes a request: the shared plan says who may, the policy and this worker's places who does.

use crate::picker::Cursor;
use crate::plan::{HostSet, Plan, Pool, Share, Spread};
use crate::registry::ClusterState;
use crate::upstreams::PickContext;
use crate::view::ClusterView;
use gateway_config::Balancing;
use std::sync::Arc;

/// The choice of hosts for one worker; rebuilt when health changes.
#[derive(Debug)]
pub(crate) struct Balancer {
    plan: Arc<Plan>,
    cursors: Vec<Cursor>,
}

/// What picking found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Position in the view's hosts.
    pub(crate) host: usize,
    /// Its priority is picked from as a whole because too few of it are healthy.
    pub(crate) panic: bool,
}

/// What all steps of one pick look at.
struct Pick<'a> {
    view: &'a ClusterView,
    state: &'a ClusterState,
    /// The request's hash, or a random number.
    hash: u64,
}

impl Balancer {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let cursors = (0..plan.cursors).map(|_| Cursor::default()).collect();
        Self { plan, cursors }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.plan.epoch
    }

    /// Percent of all requests that healthy hosts are good for, and degraded ones.
    pub(crate) fn capacity(&self) -> (u32, u32) {
        self.plan.capacity
    }

    /// Picks a host, preferring one that `avoid` does not hold for.
    pub(crate) fn pick(
        &mut self,
        view: &ClusterView,
        state: &ClusterState,
        context: &PickContext<'_>,
        avoid: impl Fn(usize) -> bool,
    ) -> Option<Choice> {
        let Self { plan, cursors } = self;
        let hashes =
            matches!(view.cluster.balancing.policy, Balancing::RingHash { .. } | Balancing::Maglev { .. });
        let hash = context.hash.filter(|_| hashes).unwrap_or_else(rand::random);
        let pick = Pick { view, state, hash };
        plan.sets(context.metadata).find_map(|set| {
            let share = share_of(set, hash)?;
            let pool = pool_of(share, cursors)?;
            let cursor = cursors.get_mut(pool.cursor)?;
            let mut choice = pick.from(pool, cursor, 0)?;
            for attempt in 1..=context.attempts {
                if !avoid(choice) {
                    break;
                }
                choice = pick.from(pool, cursor, attempt)?;
            }
            if avoid(choice) {
                // A small group is searched whole: a random policy may have met the same host each time.
                let other = pool.hosts.iter().map(|(host, _)| *host).find(|&host| !avoid(host));
                choice = other.unwrap_or(choice);
            }
            Some(Choice { host: choice, panic: share.panic })
        })
    }
}

/// A request's hash also decides the priority: it stays where it is.
fn share_of(set: &HostSet, hash: u64) -> Option<&Share> {
    if let [only] = &set.shares[..] {
        return Some(only);
    }
    let mut left = u32::try_from(hash % 100).unwrap_or_default();
    for share in &set.shares {
        if left < share.load {
            return Some(share);
        }
        left -= share.load;
    }
    set.shares.first()
}

fn pool_of<'a>(share: &'a Share, cursors: &mut [Cursor]) -> Option<&'a Pool> {
    match &share.spread {
        Spread::Whole(pool) => Some(pool),
        Spread::Zones(zones) => Some(zones.pool(rand::random())),
        Spread::Localities { cursor, pools } => {
            let weight = |at: usize| pools.get(at).map_or(0.0, |(weight, _)| *weight);
            let at = cursors.get_mut(*cursor)?.weighted(pools.len(), weight)?;
            pools.get(at).map(|(_, pool)| pool)
        }
    }
}

impl Pick<'_> {
    fn from(&self, pool: &Pool, cursor: &mut Cursor, attempt: u32) -> Option<usize> {
        let hosts = &pool.hosts;
        let active = |at: usize| hosts.get(at).map_or(0, |(host, _)| self.active(*host));
        if let Some(table) = &pool.table {
            let at = table.pick(self.hash, attempt, active, || self.state.metrics.upstream_rq_active.get());
            return hosts.get(at).map(|(host, _)| *host);
        }
        let now = if pool.slow_until > 0 { self.state.now() } else { 0 };
        let even = pool.even && pool.slow_until <= now;
        let weight = |at: usize| self.weight(pool, at, now);
        let at = match self.view.cluster.balancing.policy {
            Balancing::Random if pool.even => random(hosts.len())?,
            Balancing::Random => by_weight(&pool.sums)?,
            Balancing::LeastRequest { full_scan: true, .. } if even => {
                let first = random(hosts.len())?;
                (first..hosts.len()).chain(0..first).min_by_key(|at| active(*at))?
            }
            Balancing::LeastRequest { choices, .. } if even => {
                let mut best = random(hosts.len())?;
                let mut least = active(best);
                for _ in 1..choices {
                    let other = random(hosts.len())?;
                    let busy = active(other);
                    if busy < least {
                        (best, least) = (other, busy);
                    }
                }
                best
            }
            Balancing::LeastRequest { bias, .. } => cursor.weighted(hosts.len(), |at| {
                let busy = f64::from(active(at)) + 1.0;
                let busy = if (bias - 1.0).abs() < f64::EPSILON { busy } else { busy.powf(bias) };
                weight(at) / busy
            })?,
            _ if even => cursor.turn(hosts.len())?,
            _ => cursor.weighted(hosts.len(), weight)?,
        };
        hosts.get(at).map(|(host, _)| *host)
    }

    fn active(&self, host: usize) -> u32 {
        self.view.hosts.get(host).map_or(0, |host| host.state.active())
    }

    /// The weight of a host; less while it is new.
    fn weight(&self, pool: &Pool, at: usize, now: u64) -> f64 {
        let Some((host, weight)) = pool.hosts.get(at) else { return 0.0 };
        let weight = f64::from(*weight);
        let slow = self.view.cluster.balancing.slow_start.filter(|_| pool.slow_until > now);
        let Some((slow, host)) = slow.zip(self.view.hosts.get(*host)) else { return weight };
        let elapsed = now.saturating_sub(host.state.since()).max(1);
        #[allow(clippy::cast_precision_loss, reason = "milliseconds since the start are far below 2^52")]
        let part = elapsed as f64 / (slow.window.as_secs_f64() * 1000.0).max(1.0);
        if part >= 1.0 {
            return weight;
        }
        weight * part.powf(1.0 / slow.aggression).max(slow.min_percent / 100.0)
    }
}

fn random(count: usize) -> Option<usize> {
    (count > 0).then(|| rand::random_range(0..count))
}

fn by_weight(sums: &[u64]) -> Option<usize> {
    let point = rand::random_range(0..sums.last().copied()?.max(1));
    Some(sums.partition_point(|&sum| sum <= point).min(sums.len() - 1))
}
