// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes endpoints and addresses.

use crate::decode::{Fault, Scope, fields, number};
use crate::{
    Endpoint, EndpointAddress, EndpointCheck, EndpointHealth, Endpoints, LbMetadata, Locality, Place,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    self as core, HealthStatus, address, socket_address, socket_address::Protocol,
};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{self as pb, lb_endpoint::HostIdentifier};
use gateway_xds_api::unpack;
use std::net::{IpAddr, SocketAddr};

/// The metadata that names the proxy of an endpoint.
const CONNECT_PROXY: &str = "envoy.http11_proxy_transport_socket.proxy_address";
/// The metadata that has TLVs of an endpoint.
const PROXY_TLVS: &str = "envoy.transport_sockets.proxy_protocol";

/// The endpoints of a cluster.
pub(crate) fn endpoints(
    scope: &mut Scope,
    assignment: pb::ClusterLoadAssignment,
) -> Result<Endpoints, Fault> {
    fields!(scope, assignment => pb::ClusterLoadAssignment {
        use { cluster_name, endpoints, policy }
        warn { named_endpoints }
        quiet { }
    });
    let mut overprovisioning = None;
    if let Some(policy) = policy {
        scope.at("policy", |scope| {
            fields!(scope, policy => pb::cluster_load_assignment::Policy {
                use { overprovisioning_factor }
                warn { drop_overloads, endpoint_stale_after, weighted_priority_health }
                quiet { }
            });
            overprovisioning = number(overprovisioning_factor);
        });
    }
    let localities = scope.each("endpoints", endpoints, locality)?;
    Ok(Endpoints {
        cluster: cluster_name.into(),
        localities: localities.into(),
        overprovisioning: overprovisioning.unwrap_or(140),
    })
}

fn locality(scope: &mut Scope, locality: pb::LocalityLbEndpoints) -> Result<Locality, Fault> {
    fields!(scope, locality => pb::LocalityLbEndpoints {
        use { locality, lb_endpoints, load_balancing_weight, priority, metadata }
        warn { lb_config }
        quiet { proximity }
    });
    let core::Locality { region, zone, sub_zone } = locality.unwrap_or_default();
    Ok(Locality {
        place: Place { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() },
        priority,
        weight: number(load_balancing_weight),
        socket_metadata: metadata_of(metadata, "envoy.transport_socket_match"),
        endpoints: scope.each("lb_endpoints", lb_endpoints, endpoint)?.into(),
    })
}

fn endpoint(scope: &mut Scope, endpoint: pb::LbEndpoint) -> Result<Endpoint, Fault> {
    let pb::LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier } = endpoint;
    let inner = match scope.required("endpoint", host_identifier)? {
        HostIdentifier::Endpoint(inner) => inner,
        HostIdentifier::EndpointName(_) => {
            return Err(scope.field_fault("endpoint_name", "is not supported; use endpoint"));
        }
    };
    let health = match HealthStatus::try_from(health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => EndpointHealth::Healthy,
        Ok(HealthStatus::Degraded) => EndpointHealth::Degraded,
        Ok(HealthStatus::Draining) => EndpointHealth::Draining,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => EndpointHealth::Unhealthy,
        Err(_) => return Err(scope.field_fault("health_status", "is unknown")),
    };
    scope.at("endpoint", |scope| {
        fields!(scope, inner => pb::Endpoint {
            use { address, hostname, health_check_config }
            warn { additional_addresses }
            quiet { observability_name }
        });
        let address = scope.at("address", |scope| endpoint_address(scope, address))?;
        let name = match &address {
            EndpointAddress::Name { host, .. } if hostname.is_empty() => Some(host.clone()),
            _ => Some(hostname).filter(|name| !name.is_empty()).map(Into::into),
        };
        Ok(Endpoint {
            address,
            hostname: name,
            weight: number(load_balancing_weight).unwrap_or(1).max(1),
            health,
            connect_proxy: connect_proxy(scope, metadata.as_ref())?,
            socket_metadata: metadata_of(metadata.clone(), "envoy.transport_socket_match"),
            metadata: lb_metadata(metadata),
            check: endpoint_check(scope, health_check_config.unwrap_or_default())?,
        })
    })
}

fn endpoint_check(
    scope: &mut Scope,
    config: pb::endpoint::HealthCheckConfig,
) -> Result<EndpointCheck, Fault> {
    let pb::endpoint::HealthCheckConfig { port_value, hostname, address, disable_active_health_check } =
        config;
    let port = u16::try_from(port_value)
        .map_err(|_| scope.field_fault("health_check_config.port_value", "is above 65535"))?;
    let address = address
        .map(|address| scope.at("health_check_config.address", |scope| socket_address(scope, Some(address))))
        .transpose()?;
    Ok(EndpointCheck {
        address,
        port: Some(port).filter(|port| *port > 0),
        hostname: Some(hostname).filter(|name| !name.is_empty()).map(Into::into),
        disabled: disable_active_health_check,
    })
}

/// What balancing looks at in metadata.
pub(crate) fn lb_metadata(metadata: Option<core::Metadata>) -> LbMetadata {
    metadata_of(metadata, "envoy.lb")
}

fn metadata_of(metadata: Option<core::Metadata>, namespace: &str) -> LbMetadata {
    let fields = metadata.and_then(|mut metadata| metadata.filter_metadata.remove(namespace));
    LbMetadata::new(fields.unwrap_or_default())
}

/// The proxy that leads to an endpoint.
fn connect_proxy(scope: &mut Scope, metadata: Option<&core::Metadata>) -> Result<Option<SocketAddr>, Fault> {
    let Some(typed) = metadata.map(|metadata| &metadata.typed_filter_metadata) else { return Ok(None) };
    if typed.contains_key(PROXY_TLVS) {
        scope.warn(PROXY_TLVS, "has no effect in this gateway; use added_tlvs of the socket");
    }
    let Some(any) = typed.get(CONNECT_PROXY) else { return Ok(None) };
    scope.at(CONNECT_PROXY, |scope| {
        let address = unpack(any).map_err(|error| scope.fault(error))?;
        socket_address(scope, Some(address)).map(Some)
    })
}

/// An address with a port, not a name.
pub(crate) fn socket_address(scope: &mut Scope, address: Option<core::Address>) -> Result<SocketAddr, Fault> {
    match endpoint_address(scope, address)? {
        EndpointAddress::Socket(address) => Ok(address),
        EndpointAddress::Name { .. } => Err(scope.fault("must be an ip address")),
    }
}

fn endpoint_address(scope: &mut Scope, address: Option<core::Address>) -> Result<EndpointAddress, Fault> {
    let (host, port) = host_and_port(scope, address)?;
    if port == 0 {
        return Err(scope.field_fault("port_value", "is zero"));
    }
    Ok(match host.parse::<IpAddr>() {
        Ok(ip) => EndpointAddress::Socket(SocketAddr::new(ip, port)),
        Err(_) => EndpointAddress::Name { host: host.into(), port },
    })
}

/// An address to listen on.
pub(crate) fn listen_address(scope: &mut Scope, address: Option<core::Address>) -> Result<SocketAddr, Fault> {
    let (host, port) = host_and_port(scope, address)?;
    let ip = host
        .parse::<IpAddr>()
        .map_err(|_| scope.field_fault("address", format_args!("{host:?} is not an ip address")))?;
    Ok(SocketAddr::new(ip, port))
}

/// Addresses, whose port may be zero.
pub(crate) fn socket_addresses(
    scope: &mut Scope,
    addresses: impl Iterator<Item = core::SocketAddress>,
) -> Result<Box<[SocketAddr]>, Fault> {
    let found = addresses.map(|address| {
        listen_address(scope, Some(core::Address { address: Some(address::Address::SocketAddress(address)) }))
    });
    found.collect()
}

fn host_and_port(scope: &mut Scope, address: Option<core::Address>) -> Result<(String, u16), Fault> {
    let address = scope.required("socket_address", address.and_then(|address| address.address))?;
    let socket = match address {
        address::Address::SocketAddress(socket) => socket,
        address::Address::Pipe(_) => {
            return Err(scope.field_fault("pipe", "is not supported; use socket_address"));
        }
        address::Address::EnvoyInternalAddress(_) => {
            return Err(scope.field_fault(
                "envoy_internal_address",
                "is not supported: there are no internal listeners here",
            ));
        }
    };
    fields!(scope, socket => core::SocketAddress {
        use { protocol, address, port_specifier }
        warn { resolver_name, network_namespace_filepath }
        quiet { ipv4_compat }
    });
    // What an address is used for says its place; listeners read it themselves.
    if Protocol::try_from(protocol).is_err() {
        return Err(scope.field_fault("protocol", "is unknown"));
    }
    if address.is_empty() {
        return Err(scope.field_fault("address", "is empty"));
    }
    match port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => {
            Ok((address, u16::try_from(port).map_err(|_| scope.field_fault("port_value", "is above 65535"))?))
        }
        Some(socket_address::PortSpecifier::NamedPort(_)) => {
            Err(scope.field_fault("named_port", "is not supported; use port_value"))
        }
        None => Err(scope.field_fault("port_value", "is missing")),
    }
}
