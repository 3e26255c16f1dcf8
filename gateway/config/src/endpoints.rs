// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Endpoints of a cluster (`ClusterLoadAssignment`).

use crate::LbMetadata;
use std::fmt;
use std::net::SocketAddr;

/// The endpoints of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The name they go by: the cluster's or its EDS service name.
    pub cluster: Box<str>,
    /// Groups by place and priority.
    pub localities: Box<[Locality]>,
    /// Healthy capacity counts this many percent (default 140).
    pub overprovisioning: u32,
}

/// Endpoints at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// Region, zone and sub-zone.
    pub place: Place,
    /// 0 is the first choice.
    pub priority: u32,
    /// Share of the place among those of its priority; none: not weighted.
    pub weight: Option<u32>,
    /// What decides on the sockets of endpoints that do not say it themselves.
    pub socket_metadata: LbMetadata,
    /// The endpoints.
    pub endpoints: Box<[Endpoint]>,
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Region.
    pub region: Box<str>,
    /// Zone.
    pub zone: Box<str>,
    /// Sub-zone.
    pub sub_zone: Box<str>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Its host name, for host rewrites and DNS.
    pub hostname: Option<Box<str>>,
    /// Its share, at least 1.
    pub weight: u32,
    /// What the control plane says about it.
    pub health: EndpointHealth,
    /// What subsets are made of (`envoy.lb`).
    pub metadata: LbMetadata,
    /// What decides on its socket (`envoy.transport_socket_match`).
    pub socket_metadata: LbMetadata,
    /// The proxy that leads to it, where its socket goes through one.
    pub connect_proxy: Option<SocketAddr>,
    /// How active health checks reach it.
    pub check: EndpointCheck,
}

/// How active health checks reach an endpoint (`HealthCheckConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCheck {
    /// Another address.
    pub address: Option<SocketAddr>,
    /// Another port.
    pub port: Option<u16>,
    /// The authority that is asked for.
    pub hostname: Option<Box<str>>,
    /// It is not checked.
    pub disabled: bool,
}

impl Endpoint {
    /// An endpoint with nothing but an address.
    #[must_use]
    pub fn new(address: EndpointAddress) -> Self {
        Self {
            address,
            hostname: None,
            weight: 1,
            health: EndpointHealth::Healthy,
            metadata: LbMetadata::default(),
            socket_metadata: LbMetadata::default(),
            connect_proxy: None,
            check: EndpointCheck::default(),
        }
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointAddress {
    /// An address.
    Socket(SocketAddr),
    /// A name to resolve.
    Name {
        /// The host name.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What the control plane says about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointHealth {
    /// It takes requests.
    #[default]
    Healthy,
    /// Only where too few are healthy.
    Degraded,
    /// It ends soon: no new requests.
    Draining,
    /// It takes none.
    Unhealthy,
}
