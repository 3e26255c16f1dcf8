// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections whose bytes pass as they are.

use std::time::Duration;

/// Where a connection's bytes go (`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProxy {
    /// Prefix of its statistics.
    pub stat_prefix: Box<str>,
    /// The clusters, one of them chosen by weight; at least one.
    pub clusters: Box<[TcpCluster]>,
    /// A connection over which nothing passes closes (default 1 h); none: never.
    pub idle_timeout: Option<Duration>,
    /// Hosts that are tried (default 1).
    pub max_connect_attempts: u32,
    /// A connection closes after this time.
    pub max_duration: Option<Duration>,
    /// The host is chosen by the client's address, where the cluster balances by hash.
    pub hash_source_ip: bool,
}

/// A cluster with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpCluster {
    /// Its name.
    pub name: Box<str>,
    /// Its share of all weights.
    pub weight: u32,
}

impl TcpProxy {
    /// The cluster for a connection.
    #[must_use]
    pub fn cluster(&self, random: u64) -> Option<&TcpCluster> {
        let total: u64 = self.clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
        let mut point = random % total.max(1);
        self.clusters.iter().find(|cluster| {
            let taken = point < u64::from(cluster.weight);
            point = point.wrapping_sub(u64::from(cluster.weight));
            taken
        })
    }
}
