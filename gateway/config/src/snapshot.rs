// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the proxy serves from: one immutable, consistent view of everything.

use crate::{
    Cluster, Discovery, Endpoints, HttpConnectionManager, Listener, Place, RouteSource, RouteTable, Secret,
    ShardedMap,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One consistent view of the configuration. Parts that did not change are the same allocations as in the snapshot before.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up with every change.
    pub generation: u64,
    /// Listeners that are ready: their route tables and secrets are there.
    pub listeners: BTreeMap<Box<str>, Arc<Listener>>,
    /// Route tables, virtual hosts merged in.
    pub route_tables: ShardedMap<Arc<RouteTable>>,
    /// Clusters.
    pub clusters: ShardedMap<Arc<Cluster>>,
    /// Endpoints by [`Cluster::endpoints_name`].
    pub endpoints: ShardedMap<Arc<Endpoints>>,
    /// Secrets.
    pub secrets: ShardedMap<Arc<Secret>>,
    /// Where this gateway is, as the bootstrap says; the same in all snapshots.
    pub local: Option<Arc<LocalZone>>,
}

/// Where a gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalZone {
    /// Its place.
    pub place: Place,
    /// The cluster whose endpoints are the gateways of its kind, itself among them.
    pub cluster: Option<Box<str>>,
}

impl Snapshot {
    /// The route table of a listener's HTTP settings.
    #[must_use]
    pub fn routes_of<'a>(&'a self, http: &'a HttpConnectionManager) -> Option<&'a Arc<RouteTable>> {
        match &http.routes {
            RouteSource::Rds(name) => self.route_tables.get(name),
            RouteSource::Inline(table) => Some(table),
        }
    }

    /// A cluster with its endpoints as configured; DNS names are not resolved here.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<(&Arc<Cluster>, Option<&Arc<Endpoints>>)> {
        let cluster = self.clusters.get(name)?;
        let endpoints = match &cluster.discovery {
            Discovery::Eds { .. } => self.endpoints.get(cluster.endpoints_name()),
            Discovery::Static(endpoints)
            | Discovery::StrictDns(endpoints, _)
            | Discovery::LogicalDns(endpoints, _) => Some(endpoints),
            Discovery::Aggregate(_) => None,
        };
        Some((cluster, endpoints))
    }
}
