// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters: how endpoints are found, balanced, connected to and judged.

use crate::{
    ClusterLimits, Endpoint, Endpoints, HealthCheck, LbMetadata, LoadBalancing, Locality, OutlierDetection,
    RequestNames, SocketMatch, UpstreamSocket,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A cluster (`envoy.config.cluster.v3.Cluster`).
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: Box<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// Limit of connecting, TLS included (default 5 s).
    pub connect_timeout: Duration,
    /// How an endpoint is picked.
    pub balancing: LoadBalancing,
    /// The protocol.
    pub protocol: UpstreamProtocol,
    /// Connection settings.
    pub connection: ConnectionSettings,
    /// What connections are made of.
    pub socket: UpstreamSocket,
    /// Other sockets for endpoints with some metadata; the first that fits.
    pub socket_matches: Box<[SocketMatch]>,
    /// Names for TLS follow requests.
    pub request_names: Option<RequestNames>,
    /// Addresses that connections come from; the first of the endpoint's family, or else the first.
    pub source_addresses: Box<[SocketAddr]>,
    /// Clients do not share connections (`connection_pool_per_downstream_connection`).
    pub own_connections: bool,
    /// Limits.
    pub limits: ClusterLimits,
    /// Passive health.
    pub outlier_detection: Option<OutlierDetection>,
    /// Active health.
    pub health_checks: Box<[HealthCheck]>,
}

impl Cluster {
    /// A cluster with Envoy's defaults.
    #[must_use]
    pub fn new(name: &str, discovery: Discovery) -> Self {
        Self {
            name: name.into(),
            discovery,
            connect_timeout: Duration::from_secs(5),
            balancing: LoadBalancing::default(),
            protocol: UpstreamProtocol::default(),
            connection: ConnectionSettings::default(),
            socket: UpstreamSocket::default(),
            socket_matches: Box::default(),
            request_names: None,
            source_addresses: Box::default(),
            own_connections: false,
            limits: ClusterLimits::default(),
            outlier_detection: None,
            health_checks: Box::default(),
        }
    }

    /// All sockets: the usual one, then those of [`Self::socket_matches`].
    pub fn sockets(&self) -> impl Iterator<Item = &UpstreamSocket> {
        std::iter::once(&self.socket).chain(self.socket_matches.iter().map(|found| &found.socket))
    }

    /// The position in [`Self::sockets`] of an endpoint's socket.
    #[must_use]
    pub fn socket_of(&self, endpoint: &Endpoint, locality: &Locality) -> usize {
        let found =
            self.matching(&endpoint.socket_metadata).or_else(|| self.matching(&locality.socket_metadata));
        found.unwrap_or_default()
    }

    /// The position in [`Self::sockets`] of the socket for metadata.
    #[must_use]
    pub fn socket_for(&self, metadata: &LbMetadata) -> usize {
        self.matching(metadata).unwrap_or_default()
    }

    fn matching(&self, metadata: &LbMetadata) -> Option<usize> {
        let found = self.socket_matches.iter().position(|found| found.criteria.is_within(metadata, false));
        found.map(|at| at + 1)
    }

    /// The name that its endpoints go by.
    #[must_use]
    pub fn endpoints_name(&self) -> &str {
        match &self.discovery {
            Discovery::Eds { service_name: Some(name) } => name,
            _ => &self.name,
        }
    }
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// From a ClusterLoadAssignment.
    Eds {
        /// Its name where it is not the cluster's.
        service_name: Option<Box<str>>,
    },
    /// As written.
    Static(Arc<Endpoints>),
    /// All addresses of the host names, resolved again and again.
    StrictDns(Arc<Endpoints>, DnsSettings),
    /// The first address of the host name, resolved again and again.
    LogicalDns(Arc<Endpoints>, DnsSettings),
    /// Other clusters, by name: the first one that can take a request does (`envoy.clusters.aggregate`).
    Aggregate(Box<[Box<str>]>),
}

/// Who is asked for addresses of host names, where it is not the system's resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsServers {
    /// The servers; empty: those of the system.
    pub servers: Box<[SocketAddr]>,
    /// They are asked over TCP alone.
    pub tcp: bool,
    /// The system's search domains do not count.
    pub no_search: bool,
    /// Time for one answer (default 5 s).
    pub timeout: Option<Duration>,
    /// Times that each server is asked (default 4).
    pub tries: Option<u32>,
}

/// How host names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Time between resolutions (default 5 s).
    pub refresh: Duration,
    /// Time to the next one after a failure: the shortest, and the longest after many; none: as after a success.
    pub failure_refresh: Option<(Duration, Duration)>,
    /// Up to this much is added to the time between resolutions.
    pub jitter: Duration,
    /// Which addresses.
    pub family: DnsFamily,
    /// The time to live that answers tell counts rather than [`Self::refresh`], where it is above zero.
    pub respect_ttl: bool,
    /// But names are not asked for more often than this.
    pub min_refresh: Duration,
    /// Who is asked; none: the system's resolver, or where time to live counts, its servers.
    pub servers: Option<DnsServers>,
}

/// Which addresses of a host name count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6, or IPv4 where there is none.
    #[default]
    Auto,
    /// IPv4, or IPv6 where there is none.
    V4Preferred,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Both.
    All,
}

/// The protocol of a cluster (`HttpProtocolOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    Http2,
    /// By ALPN; TLS only.
    Auto,
    /// As the client speaks.
    Downstream,
}

/// Settings of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// A connection without requests closes (default 1 h); none: never.
    pub idle_timeout: Option<Duration>,
    /// A connection takes no more requests after this time.
    pub max_duration: Option<Duration>,
    /// Requests on one connection.
    pub max_requests: Option<u32>,
    /// Streams at a time on an HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// Initial window of an HTTP/2 stream, bytes.
    pub initial_stream_window: Option<u32>,
    /// Initial window of an HTTP/2 connection, bytes.
    pub initial_connection_window: Option<u32>,
    /// Bytes that a connection may buffer in each direction; a soft limit.
    pub buffer_limit: Option<u32>,
    /// TCP keepalive.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// HTTP/2 pings.
    pub keepalive: Option<Keepalive>,
    /// An answer's head is no larger, bytes (default over HTTP/2 60 KiB).
    pub max_head: Option<u32>,
    /// An answer has no more headers (default 100).
    pub max_headers: Option<u32>,
}

/// TCP keepalive; what is not set is the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes without an answer until the connection is dead.
    pub probes: Option<u32>,
}

/// HTTP/2 pings that find out whether the peer is there (`connection_keepalive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Time between pings.
    pub interval: Duration,
    /// A connection whose ping is not answered in this time closes.
    pub timeout: Duration,
    /// Up to this percentage of the interval is added to it (default 15).
    pub jitter: u8,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_hours(1)),
            max_duration: None,
            max_requests: None,
            max_concurrent_streams: None,
            initial_stream_window: None,
            initial_connection_window: None,
            buffer_limit: None,
            tcp_keepalive: None,
            keepalive: None,
            max_head: None,
            max_headers: None,
        }
    }
}
