// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes listeners.

use crate::decode::endpoints::listen_address;
use crate::decode::filter_chains::filter_chains;
use crate::decode::udp_proxy::{UDP_PROXY, udp_listener};
use crate::decode::{Fault, Scope, fields, number, truth, type_name};
use crate::{FilterChains, Listener, ProxyProtocol};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, address, proxy_protocol_config::Version, socket_address::Protocol,
};
use gateway_xds_api::pb::envoy::config::listener::v3::{self as pb, listener_filter};
use gateway_xds_api::pb::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy;
use gateway_xds_api::unpack;

/// A listener.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn listener(scope: &mut Scope, listener: pb::Listener) -> Result<Listener, Fault> {
    fields!(scope, listener => pb::Listener {
        use {
            name, address, filter_chains, default_filter_chain, per_connection_buffer_limit_bytes, listener_filters, tcp_backlog_size,
            bind_to_port, listener_filters_timeout, filter_chain_matcher, udp_listener_config, api_listener, listener_specifier, use_original_dst, fcds_config,
        }
        warn {
            additional_addresses, deprecated_v1, transparent, freebind, socket_options, tcp_fast_open_queue_length, connection_balance_config,
            access_log, continue_on_listener_filters_timeout, max_connections_to_accept_per_socket_event, enable_mptcp, bypass_overload_manager, tcp_keepalive,
            per_connection_buffer_high_watermark_timeout,
        }
        quiet {
            stat_prefix, stats_matcher, metadata, drain_type, traffic_direction, reuse_port, enable_reuse_port, ignore_global_conn_limit,
        }
    });
    let unsupported = [
        ("filter_chain_matcher", filter_chain_matcher.is_some()),
        ("api_listener", api_listener.is_some()),
        ("internal_listener", listener_specifier.is_some()),
        ("use_original_dst", truth(use_original_dst, false)),
        ("fcds_config", fcds_config.is_some()),
        ("bind_to_port", !truth(bind_to_port, true)),
    ];
    if let Some((field, _)) = unsupported.into_iter().find(|(_, set)| *set) {
        return Err(scope.field_fault(field, "is not supported"));
    }
    let is_udp = is_udp(address.as_ref());
    let address = scope.at("address", |scope| listen_address(scope, address))?;
    if is_udp {
        let chains = [
            ("filter_chains", !filter_chains.is_empty()),
            ("default_filter_chain", default_filter_chain.is_some()),
        ];
        if let Some((field, _)) = chains.into_iter().find(|(_, set)| *set) {
            return Err(scope.field_fault(field, "a UDP listener has none"));
        }
        scope.unused("listener_filters_timeout", &listener_filters_timeout);
        return Ok(Listener {
            name: name.into(),
            address,
            chains: FilterChains::default(),
            udp: Some(udp_listener(scope, listener_filters, udp_listener_config)?),
            proxy_protocol: None,
            tls_inspector: false,
            filters_timeout: None,
            backlog: None,
            buffer_limit: None,
        });
    }
    if udp_listener_config.is_some() {
        return Err(scope.field_fault("udp_listener_config", "needs an address whose protocol is UDP"));
    }
    let (mut proxy_protocol, mut tls_inspector) = (None, false);
    for filter in scope.each("listener_filters", listener_filters, listener_filter)? {
        match filter {
            ListenerFilter::ProxyProtocol(settings) => proxy_protocol = Some(settings),
            ListenerFilter::TlsInspector => tls_inspector = true,
            ListenerFilter::HttpInspector => {}
        }
    }
    Ok(Listener {
        name: name.into(),
        address,
        chains: self::filter_chains(scope, filter_chains, default_filter_chain)?,
        udp: None,
        proxy_protocol,
        tls_inspector,
        filters_timeout: scope.limit("listener_filters_timeout", listener_filters_timeout, None)?,
        backlog: number(tcp_backlog_size),
        buffer_limit: number(per_connection_buffer_limit_bytes),
    })
}

/// Whether an address is for datagrams.
fn is_udp(address: Option<&Address>) -> bool {
    let Some(address::Address::SocketAddress(socket)) = address.and_then(|address| address.address.as_ref())
    else {
        return false;
    };
    socket.protocol == i32::from(Protocol::Udp)
}

/// What a listener filter does.
enum ListenerFilter {
    ProxyProtocol(ProxyProtocol),
    TlsInspector,
    /// What it finds out, this gateway always looks at.
    HttpInspector,
}

fn listener_filter(scope: &mut Scope, filter: pb::ListenerFilter) -> Result<ListenerFilter, Fault> {
    let pb::ListenerFilter { name: _, filter_disabled, config_type } = filter;
    scope.unused("filter_disabled", &filter_disabled);
    let any = match scope.required("typed_config", config_type)? {
        listener_filter::ConfigType::TypedConfig(any) => any,
        listener_filter::ConfigType::ConfigDiscovery(_) => {
            return Err(scope.field_fault("config_discovery", "is not supported"));
        }
    };
    match type_name(&any) {
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" => Ok(ListenerFilter::TlsInspector),
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector" => {
            Ok(ListenerFilter::HttpInspector)
        }
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" => {
            let message = unpack(&any).map_err(|error| scope.fault(error))?;
            Ok(ListenerFilter::ProxyProtocol(proxy_protocol(scope, message)))
        }
        UDP_PROXY => Err(scope.fault("the UDP proxy needs an address whose protocol is UDP")),
        other => Err(scope.fault(format_args!("the listener filter {other} is not supported"))),
    }
}

fn proxy_protocol(scope: &mut Scope, message: proxy::ProxyProtocol) -> ProxyProtocol {
    fields!(scope, message => proxy::ProxyProtocol {
        use { allow_requests_without_proxy_protocol, disallowed_versions }
        warn { rules, pass_through_tlvs, tlv_location }
        quiet { stat_prefix }
    });
    let refused = |version: Version| disallowed_versions.contains(&i32::from(version));
    ProxyProtocol {
        optional: allow_requests_without_proxy_protocol,
        refuse_v1: refused(Version::V1),
        refuse_v2: refused(Version::V2),
    }
}
