// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Zone awareness: requests stay in the gateway's own locality as far as all endpoints get the same load, by Envoy's rules.

use super::{Builder, Pool};
use gateway_config::{EndpointHealth, Endpoints, Place, ZoneAware};
use std::collections::BTreeMap;

/// Parts of a whole are counted in hundredths of a percent.
const WHOLE: u64 = 10_000;

/// How the healthy hosts of a priority share its requests.
#[derive(Debug)]
pub(crate) struct Zones {
    /// Percent of the requests for which localities matter.
    routing: u64,
    /// The part of those that stays, in [`WHOLE`]ths.
    stays: u64,
    local: Pool,
    /// Other localities with running sums of what they can take beyond their own share.
    others: Box<[(u64, Pool)]>,
    all: Pool,
}

impl Zones {
    /// The hosts for a request.
    pub(crate) fn pool(&self, random: u64) -> &Pool {
        let (look, random) = (random % 100, random / 100);
        if look >= self.routing {
            return &self.all;
        }
        let (stay, random) = (random % WHOLE, random / WHOLE);
        if stay < self.stays {
            return &self.local;
        }
        let capacity = self.others.last().map_or(0, |(sum, _)| *sum);
        let found = match capacity {
            // None has room: each takes the same.
            0 => usize::try_from(random % (self.others.len().max(1) as u64)).ok(),
            _ => Some(self.others.partition_point(|(sum, _)| *sum <= random % capacity)),
        };
        found.and_then(|at| self.others.get(at)).map_or(&self.all, |(_, pool)| pool)
    }
}

/// Zones for the healthy hosts of the first priority; none where localities do not matter.
pub(super) fn zones(builder: &mut Builder<'_>, hosts: &[usize], settings: ZoneAware) -> Option<Zones> {
    let view = builder.view;
    let (zone, peers) = view.local.as_ref()?;
    let endpoints = view.endpoints.as_ref()?;
    let mut places: BTreeMap<usize, (&Place, Vec<usize>)> = BTreeMap::new();
    for at in hosts {
        let locality = view.hosts.get(*at)?.locality;
        let place = &endpoints.localities.get(locality)?.place;
        // The same place may be there more than once.
        let key = endpoints.localities.iter().position(|other| other.place == *place)?;
        places.entry(key).or_insert_with(|| (place, Vec::new())).1.push(*at);
    }
    let (_, local) = places.values().find(|(place, _)| **place == zone.place)?;
    let local = local.clone();
    let forced = settings.force_local.is_some_and(|least| local.len() >= least as usize);
    let peers = shares(peers);
    let own_peers = *peers.get(&zone.place)?;
    if !forced && (places.len() < 2 || (hosts.len() as u64) < settings.min_size) {
        return None;
    }
    let part = |count: usize| (count as u64 * WHOLE).checked_div(hosts.len() as u64).unwrap_or(0);
    let own = part(local.len());
    let stays = if forced || own >= own_peers { WHOLE } else { own * WHOLE / own_peers };
    let mut sum = 0;
    let mut others = Vec::new();
    for (place, members) in places.into_values().filter(|(place, _)| **place != zone.place) {
        sum += part(members.len()).saturating_sub(peers.get(place).copied().unwrap_or(0));
        others.push((sum, builder.pool(&members, &[])));
    }
    Some(Zones {
        routing: settings.routing.into(),
        stays,
        local: builder.pool(&local, &[]),
        others: others.into(),
        all: builder.pool(hosts, &[]),
    })
}

/// Which part of the gateways is where.
fn shares(peers: &Endpoints) -> BTreeMap<Place, u64> {
    let usable = |health| matches!(health, EndpointHealth::Healthy | EndpointHealth::Degraded);
    let mut counts: BTreeMap<Place, u64> = BTreeMap::new();
    for locality in peers.localities.iter().filter(|locality| locality.priority == 0) {
        let healthy = locality.endpoints.iter().filter(|endpoint| usable(endpoint.health)).count() as u64;
        *counts.entry(locality.place.clone()).or_default() += healthy;
    }
    let total: u64 = counts.values().sum();
    counts.retain(|_, count| *count > 0);
    counts.into_iter().map(|(place, count)| (place, count * WHOLE / total.max(1))).collect()
}
