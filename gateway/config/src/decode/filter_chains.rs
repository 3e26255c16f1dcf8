// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes filter chains and their conditions.

use crate::decode::http::connection_manager;
use crate::decode::network_gate::{connection_limit, connection_rate, network_rbac};
use crate::decode::strings::cidr;
use crate::decode::tcp_proxy::tcp_proxy;
use crate::decode::tls::downstream;
use crate::decode::watching::is_left_out;
use crate::decode::{Fault, Scope, fields, type_name};
use crate::{ChainMatch, FilterChain, FilterChains, NetworkFilter, NetworkGate};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    self as pb, filter, filter_chain_match::ConnectionSourceType,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::sync::Arc;

/// All chains of a listener.
pub(crate) fn filter_chains(
    scope: &mut Scope,
    chains: Vec<pb::FilterChain>,
    default: Option<pb::FilterChain>,
) -> Result<FilterChains, Fault> {
    let decoded = scope.each("filter_chains", chains, filter_chain)?;
    let default = match default {
        None => None,
        Some(default) => {
            let mut chain = scope.at("default_filter_chain", |scope| filter_chain(scope, default))?;
            if chain.matches != ChainMatch::default() {
                scope.warn("default_filter_chain.filter_chain_match", "has no effect on the default chain");
                chain.matches = ChainMatch::default();
            }
            Some(chain)
        }
    };
    if decoded.is_empty() && default.is_none() {
        return Err(scope.field_fault("filter_chains", "is empty"));
    }
    FilterChains::new(decoded, default).map_err(|same| {
        let field = format!("filter_chains[{}].filter_chain_match", same.chain);
        scope.field_fault(&field, "takes connections that another chain takes by the same conditions")
    })
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn filter_chain(scope: &mut Scope, chain: pb::FilterChain) -> Result<FilterChain, Fault> {
    fields!(scope, chain => pb::FilterChain {
        use { filter_chain_match, filters, transport_socket, transport_socket_connect_timeout, name }
        warn { use_proxy_proto }
        quiet { metadata }
    });
    let matches =
        scope.at("filter_chain_match", |scope| chain_match(scope, filter_chain_match.unwrap_or_default()))?;
    let tls = scope.at("transport_socket", |scope| downstream(scope, transport_socket))?;
    let (gates, network) = network_filters(scope, filters)?;
    let handshake_timeout =
        scope.limit("transport_socket_connect_timeout", transport_socket_connect_timeout, None)?;
    Ok(FilterChain { name: name.into(), matches, tls, gates, network, handshake_timeout })
}

/// The last one handles the bytes; those before it let connections through to it.
fn network_filters(
    scope: &mut Scope,
    mut filters: Vec<pb::Filter>,
) -> Result<(Box<[NetworkGate]>, NetworkFilter), Fault> {
    let Some(last) = filters.pop() else { return Err(scope.field_fault("filters", "is empty")) };
    let at = format!("filters[{}]", filters.len());
    let gates = scope.each("filters", filters, |scope, filter| {
        let any = typed_config(scope, filter)?;
        match type_name(&any) {
            "envoy.extensions.filters.network.rbac.v3.RBAC" => network_rbac(scope, &any).map(Some),
            "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit" => {
                connection_rate(scope, &any)
            }
            "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit" => {
                connection_limit(scope, &any)
            }
            _ if is_left_out(scope, &any)? => Ok(None),
            other => Err(scope
                .fault(format_args!("the network filter {other} is not supported in front of another one"))),
        }
    })?;
    let network = scope.at(at, |scope| {
        let any = typed_config(scope, last)?;
        match type_name(&any) {
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => {
                let message = unpack(&any).map_err(|error| scope.fault(error))?;
                Ok(NetworkFilter::Http(Arc::new(connection_manager(scope, message)?)))
            }
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" => {
                Ok(NetworkFilter::Tcp(Arc::new(tcp_proxy(scope, &any)?)))
            }
            other => Err(scope.fault(format_args!(
                "the network filter {other} is not supported as the last one; use http_connection_manager or tcp_proxy"
            ))),
        }
    })?;
    Ok((gates.into_iter().flatten().collect(), network))
}

fn typed_config(scope: &Scope, filter: pb::Filter) -> Result<Any, Fault> {
    match scope.required("typed_config", filter.config_type)? {
        filter::ConfigType::TypedConfig(any) => Ok(any),
        filter::ConfigType::ConfigDiscovery(_) => {
            Err(scope.field_fault("config_discovery", "is not supported"))
        }
    }
}

/// The conditions of a chain.
fn chain_match(scope: &mut Scope, chain_match: pb::FilterChainMatch) -> Result<ChainMatch, Fault> {
    let pb::FilterChainMatch {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = chain_match;
    if !address_suffix.is_empty() || suffix_len.is_some() {
        return Err(scope.field_fault("address_suffix", "is not supported; use prefix_ranges"));
    }
    let port = |scope: &Scope, field: &str, number: u32| {
        u16::try_from(number)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| scope.field_fault(field, "is not a port"))
    };
    let ranges = |scope: &mut Scope, field: &str, ranges| {
        scope.each(field, ranges, |scope, range| cidr(scope, "address_prefix", &range)).map(Into::into)
    };
    let names = scope.each("server_names", server_names, |scope, name| {
        let rest = name.strip_prefix("*.").unwrap_or(&name);
        if rest.is_empty() || rest.contains('*') || rest.starts_with('.') {
            return Err(scope.fault(format_args!("{name:?} must be a host or *.suffix")));
        }
        Ok(name.to_ascii_lowercase().into())
    })?;
    Ok(ChainMatch {
        destination_port: match destination_port {
            None => None,
            Some(number) => Some(port(scope, "destination_port", number.value)?),
        },
        destinations: ranges(scope, "prefix_ranges", prefix_ranges)?,
        server_names: names.into(),
        tls: match transport_protocol.as_str() {
            "" => None,
            "tls" => Some(true),
            "raw_buffer" => Some(false),
            _ => return Err(scope.field_fault("transport_protocol", "must be tls or raw_buffer")),
        },
        application_protocols: application_protocols.into_iter().map(Into::into).collect(),
        direct_sources: ranges(scope, "direct_source_prefix_ranges", direct_source_prefix_ranges)?,
        local: match ConnectionSourceType::try_from(source_type) {
            Ok(ConnectionSourceType::Any) => None,
            Ok(ConnectionSourceType::SameIpOrLoopback) => Some(true),
            Ok(ConnectionSourceType::External) => Some(false),
            Err(_) => return Err(scope.field_fault("source_type", "is unknown")),
        },
        sources: ranges(scope, "source_prefix_ranges", source_prefix_ranges)?,
        source_ports: scope
            .each("source_ports", source_ports, |scope, number| port(scope, "source_port", number))?
            .into(),
    })
}
