// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The route of a request: found once, and again where a filter asks for it.

use crate::client_address::Client;
use gateway_config::{Action, FilterSetting, Forward, RequestView, RouteFound, RouteTable, WeightedCluster};
use gateway_filter_api::RequestHead;

/// One of a route's clusters.
#[derive(Clone, Debug)]
pub(crate) struct Chosen<'a> {
    pub(crate) cluster: &'a WeightedCluster,
    /// As the request names it.
    named: Option<Box<str>>,
}

impl Chosen<'_> {
    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        self.named.as_deref().unwrap_or(&self.cluster.name)
    }
}

/// A request's place in the route table.
#[derive(Clone, Debug)]
pub(crate) struct Routing<'a> {
    pub(crate) table: &'a RouteTable,
    pub(crate) found: RouteFound<'a>,
    /// The cluster of a route that forwards; chosen with the route, as in Envoy.
    pub(crate) chosen: Option<Chosen<'a>>,
    /// Who asks.
    pub(crate) client: Client,
    /// Decides about shares; the same for all looks at one request.
    random: u64,
}

impl<'a> Routing<'a> {
    /// The route of a request; none where the table has none.
    pub(crate) fn find(table: &'a RouteTable, head: &RequestHead, client: Client) -> Option<Self> {
        let random = rand::random();
        let found = find(table, head, random)?;
        Some(Self { table, found, chosen: chosen(found, head, random), client, random })
    }

    /// The settings of a filter here: the cluster's, the route's, the table's.
    pub(crate) fn setting(&self, filter: &str) -> Option<&'a FilterSetting> {
        let cluster = self.chosen.as_ref().and_then(|chosen| chosen.cluster.filters.as_ref());
        let own = cluster.unwrap_or(&self.found.route.filters);
        own.get(filter).or_else(|| self.table.settings.filters.get(filter))
    }

    /// How the route forwards, where it does.
    pub(crate) fn forward(&self) -> Option<&'a Forward> {
        match &self.found.route.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// Looks again; false where the request as it is now has no route.
    pub(crate) fn again(&mut self, head: &RequestHead) -> bool {
        let Some(found) = find(self.table, head, self.random) else { return false };
        self.found = found;
        self.chosen = chosen(found, head, self.random);
        true
    }
}

fn find<'a>(table: &'a RouteTable, head: &RequestHead, random: u64) -> Option<RouteFound<'a>> {
    table.find(&view(head, random))
}

fn chosen<'a>(found: RouteFound<'a>, head: &RequestHead, random: u64) -> Option<Chosen<'a>> {
    let Action::Forward(forward) = &found.route.action else { return None };
    // Independent of what shares were decided by.
    let cluster = forward.clusters.choose(random.rotate_left(32), &head.headers)?;
    let named = cluster.header.as_ref().map(|name| {
        let told = head.headers.get(name).and_then(|value| value.to_str().ok());
        told.unwrap_or_default().into()
    });
    Some(Chosen { cluster, named })
}

/// What conditions read of a request; `random` decides about shares.
pub(crate) fn view(head: &RequestHead, random: u64) -> RequestView<'_> {
    RequestView {
        path: head.path.path(),
        query: head.path.query(),
        method: &head.method,
        authority: head.authority(),
        scheme: head.scheme(),
        headers: &head.headers,
        random,
    }
}
