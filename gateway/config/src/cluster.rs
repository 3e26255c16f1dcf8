// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters: how endpoints are found, balanced, connected to and judged.

use crate::{CircuitBreakers, Endpoints, HealthCheck, LoadBalancing, OutlierDetection, UpstreamTls};
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
    /// TLS; none for plain text.
    pub tls: Option<UpstreamTls>,
    /// Limits, default priority.
    pub circuit_breakers: CircuitBreakers,
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
            tls: None,
            circuit_breakers: CircuitBreakers::default(),
            outlier_detection: None,
            health_checks: Box::default(),
        }
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
}

/// How host names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Time between resolutions (default 5 s).
    pub refresh: Duration,
    /// Time to the next one after a failure: the shortest, and the longest after many; none: as after a success.
    pub failure_refresh: Option<(Duration, Duration)>,
    /// Up to this much is added to the time between resolutions.
    pub jitter: Duration,
    /// Which addresses.
    pub family: DnsFamily,
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
    /// TCP keepalive: idle time before the first probe.
    pub tcp_keepalive: Option<Duration>,
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
        }
    }
}
