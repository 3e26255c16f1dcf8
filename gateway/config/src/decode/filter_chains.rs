// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes filter chains and indexes them by server name.

use crate::decode::http::connection_manager;
use crate::decode::tls::downstream;
use crate::decode::{Fault, Scope, fields, type_name};
use crate::{FilterChain, FilterChains};
use gateway_xds_api::pb::envoy::config::listener::v3::{self as pb, filter};
use gateway_xds_api::unpack;
use std::collections::HashMap;
use std::sync::Arc;

/// All chains of a listener.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn filter_chains(
    scope: &mut Scope,
    chains: Vec<pb::FilterChain>,
    default: Option<pb::FilterChain>,
) -> Result<FilterChains, Fault> {
    let mut decoded = scope.each("filter_chains", chains, filter_chain)?;
    let mut index = FilterChains::default();
    for (at, chain) in (0_u32..).zip(&decoded) {
        scope.at(format_args!("filter_chains[{at}].filter_chain_match.server_names"), |scope| {
            add_names(scope, &mut index, chain, at)
        })?;
    }
    if let Some(default) = default {
        let mut chain = scope.at("default_filter_chain", |scope| filter_chain(scope, default))?;
        if !chain.server_names.is_empty() {
            scope.warn("default_filter_chain.filter_chain_match", "has no effect on the default chain");
            chain.server_names = Box::default();
        }
        // A chain without names is more specific than the default: it takes everything already.
        if index.any.is_none() {
            index.any = u32::try_from(decoded.len()).ok();
            decoded.push(chain);
        } else {
            scope.warn("default_filter_chain", "has no effect beside a chain without server_names");
        }
    }
    if decoded.is_empty() {
        return Err(scope.field_fault("filter_chains", "is empty"));
    }
    let encrypted = decoded.iter().filter(|chain| chain.tls.is_some()).count();
    if encrypted != 0 && encrypted != decoded.len() {
        return Err(scope.field_fault("filter_chains", "tls and plain text cannot share a listener"));
    }
    index.chains = decoded.into_iter().map(Arc::new).collect();
    Ok(index)
}

fn add_names(scope: &mut Scope, index: &mut FilterChains, chain: &FilterChain, at: u32) -> Result<(), Fault> {
    if chain.server_names.is_empty() {
        return match index.any.replace(at) {
            None => Ok(()),
            Some(_) => Err(scope.fault("more than one chain takes any server name")),
        };
    }
    for name in &chain.server_names {
        let map: &mut HashMap<Box<str>, u32> =
            if name.starts_with("*.") { &mut index.suffixes } else { &mut index.exact };
        if map.insert(name.strip_prefix("*.").unwrap_or(name).into(), at).is_some_and(|other| other != at) {
            return Err(scope.fault(format_args!("{name:?} is in more than one chain")));
        }
    }
    Ok(())
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn filter_chain(scope: &mut Scope, chain: pb::FilterChain) -> Result<FilterChain, Fault> {
    fields!(scope, chain => pb::FilterChain {
        use { filter_chain_match, filters, transport_socket, transport_socket_connect_timeout, name }
        warn { use_proxy_proto }
        quiet { metadata }
    });
    let server_names = scope
        .at("filter_chain_match", |scope| server_names(scope, filter_chain_match.unwrap_or_default()))?;
    let tls = scope.at("transport_socket", |scope| downstream(scope, transport_socket))?;
    if tls.is_none() && !server_names.is_empty() {
        return Err(scope.field_fault("filter_chain_match.server_names", "needs a tls transport_socket"));
    }
    let mut filters = filters.into_iter();
    let (Some(filter), None) = (filters.next(), filters.next()) else {
        return Err(scope.field_fault("filters", "must have one entry, the http_connection_manager"));
    };
    let http = scope.at("filters[0]", |scope| {
        let any = match scope.required("typed_config", filter.config_type)? {
            filter::ConfigType::TypedConfig(any) => any,
            filter::ConfigType::ConfigDiscovery(_) => {
                return Err(scope.field_fault("config_discovery", "is not supported"));
            }
        };
        match type_name(&any) {
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => {
                connection_manager(scope, unpack(&any).map_err(|error| scope.fault(error))?)
            }
            other => Err(scope.fault(format_args!("the network filter {other} is not supported"))),
        }
    })?;
    let handshake_timeout =
        scope.limit("transport_socket_connect_timeout", transport_socket_connect_timeout, None)?;
    Ok(FilterChain { name: name.into(), server_names, tls, http: Arc::new(http), handshake_timeout })
}

/// A chain that is chosen by anything else would take connections that are not its own.
fn server_names(scope: &mut Scope, chain_match: pb::FilterChainMatch) -> Result<Box<[Box<str>]>, Fault> {
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
    let unsupported = [
        ("destination_port", destination_port.is_some()),
        ("prefix_ranges", !prefix_ranges.is_empty()),
        ("address_suffix", !address_suffix.is_empty() || suffix_len.is_some()),
        ("direct_source_prefix_ranges", !direct_source_prefix_ranges.is_empty()),
        ("source_type", source_type != 0),
        ("source_prefix_ranges", !source_prefix_ranges.is_empty()),
        ("source_ports", !source_ports.is_empty()),
        ("transport_protocol", !matches!(transport_protocol.as_str(), "" | "tls" | "raw_buffer")),
        ("application_protocols", !application_protocols.is_empty()),
    ];
    if let Some((field, _)) = unsupported.into_iter().find(|(_, set)| *set) {
        return Err(scope.field_fault(field, "is not supported; chains are chosen by server_names"));
    }
    let names = scope.each("server_names", server_names, |scope, name| {
        let rest = name.strip_prefix("*.").unwrap_or(&name);
        if rest.is_empty() || rest.contains('*') || rest.starts_with('.') {
            return Err(scope.fault(format_args!("{name:?} must be a host or *.suffix")));
        }
        Ok(name.to_ascii_lowercase().into())
    })?;
    Ok(names.into())
}
