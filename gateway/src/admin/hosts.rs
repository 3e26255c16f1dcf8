// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The hosts of clusters, in their places, with what they went through.

use crate::process::Shared;
use gateway_config::{Cluster, Discovery, EndpointAddress, EndpointHealth, Endpoints, Place, Snapshot};
use gateway_upstream::{ClusterState, HostState, Standing};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, Locality, SocketAddress, address, socket_address,
};
use std::collections::HashMap;
use std::sync::Arc;

/// A cluster with its hosts.
#[derive(Debug)]
pub(crate) struct ClusterHosts {
    pub(crate) name: String,
    pub(crate) cluster: Arc<Cluster>,
    /// None where its endpoints have not come.
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    /// None where it was never used.
    pub(crate) state: Option<Arc<ClusterState>>,
}

/// A host in its place.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: EndpointAddress,
    pub(crate) hostname: String,
    pub(crate) place: Place,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    /// What the control plane says.
    pub(crate) told: EndpointHealth,
    /// None where it was never used.
    pub(crate) state: Option<Arc<HostState>>,
}

/// All clusters, by name.
pub(crate) fn clusters(shared: &Shared) -> Vec<ClusterHosts> {
    let snapshot = shared.store.lock().snapshot().clone();
    let used = shared.proxy.upstream().clusters();
    let mut used: HashMap<String, _> =
        used.into_iter().map(|state| (state.name().to_owned(), state)).collect();
    let mut names: Vec<&str> = snapshot.clusters.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    let cluster = |name: &str| ClusterHosts::of(&snapshot, name, used.remove(name));
    names.into_iter().filter_map(cluster).collect()
}

impl ClusterHosts {
    fn of(snapshot: &Snapshot, name: &str, state: Option<Arc<ClusterState>>) -> Option<Self> {
        let (cluster, endpoints) = snapshot.cluster(name)?;
        // Names are not endpoints before they are resolved.
        let endpoints = match cluster.discovery {
            Discovery::StrictDns(..) | Discovery::LogicalDns(..) => {
                state.as_ref().and_then(|state| state.resolved_endpoints())
            }
            _ => endpoints.cloned(),
        };
        Some(Self { name: name.to_owned(), cluster: Arc::clone(cluster), endpoints, state })
    }

    /// Its hosts, by priority.
    pub(crate) fn hosts(&self) -> Vec<Host> {
        let states = self.state.as_ref().map(|state| state.hosts()).unwrap_or_default();
        let states: HashMap<_, _> = states.iter().map(|host| (host.address(), host)).collect();
        let localities = self.endpoints.iter().flat_map(|endpoints| &endpoints.localities);
        let placed = localities.flat_map(|place| place.endpoints.iter().map(move |e| (place, e)));
        let host = |(locality, endpoint): (&gateway_config::Locality, &gateway_config::Endpoint)| Host {
            address: endpoint.address.clone(),
            hostname: endpoint.hostname.as_deref().unwrap_or_default().to_owned(),
            place: locality.place.clone(),
            priority: locality.priority,
            weight: endpoint.weight,
            told: endpoint.health,
            state: states.get(&endpoint.address).map(|host| Arc::clone(host)),
        };
        let mut hosts: Vec<_> = placed.map(host).collect();
        hosts.sort_by_key(|host| host.priority);
        hosts
    }
}

impl Host {
    /// What active and passive checks say.
    pub(crate) fn standing(&self) -> Standing {
        self.state.as_ref().map(|state| state.standing()).unwrap_or_default()
    }

    /// Whether it takes requests, as Envoy sums it up.
    pub(crate) fn health(&self) -> EndpointHealth {
        let standing = self.standing();
        match self.told {
            EndpointHealth::Draining | EndpointHealth::Unhealthy => EndpointHealth::Unhealthy,
            _ if standing.failed_active || standing.ejected || standing.pending || standing.excluded => {
                EndpointHealth::Unhealthy
            }
            EndpointHealth::Degraded => EndpointHealth::Degraded,
            EndpointHealth::Healthy if standing.degraded_active => EndpointHealth::Degraded,
            EndpointHealth::Healthy => EndpointHealth::Healthy,
        }
    }

    /// Its place as Envoy writes it.
    pub(crate) fn locality(&self) -> Locality {
        Locality {
            region: self.place.region.to_string(),
            zone: self.place.zone.to_string(),
            sub_zone: self.place.sub_zone.to_string(),
        }
    }
}

/// An address as Envoy writes it.
pub(crate) fn address(address: &EndpointAddress) -> Address {
    let (address, port) = match address {
        EndpointAddress::Socket(address) => (address.ip().to_string(), address.port()),
        EndpointAddress::Name { host, port } => (host.to_string(), *port),
    };
    let port = socket_address::PortSpecifier::PortValue(u32::from(port));
    let socket = SocketAddress { address, port_specifier: Some(port), ..SocketAddress::default() };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}
