// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the UDP proxy and what a listener says about its socket.

use crate::decode::access_log::access_logs;
use crate::decode::{Fault, Scope, fields, type_name};
use crate::{DatagramHash, UdpProxy};
use gateway_xds_api::pb::envoy::config::core::v3::UdpSocketConfig;
use gateway_xds_api::pb::envoy::config::listener::v3::{ListenerFilter, UdpListenerConfig, listener_filter};
use gateway_xds_api::pb::envoy::extensions::filters::udp::udp_proxy::v3::{
    self as pb, udp_proxy_config::HashPolicy, udp_proxy_config::RouteSpecifier,
    udp_proxy_config::hash_policy::PolicySpecifier,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::pb::xds::r#type::matcher::v3::{Matcher, matcher::on_match::OnMatch};
use gateway_xds_api::unpack;
use std::sync::Arc;
use std::time::Duration;

/// Envoy's default of the idle timeout.
const IDLE: Duration = Duration::from_mins(1);
/// Envoy's default of the largest datagram from clients, bytes.
const MAX_RECEIVED: usize = 1500;
/// No datagram is larger: Envoy's default of what endpoints may send, as far as it reads several datagrams at once (GRO).
const MAX_ANSWERED: usize = 65535;

/// The full name of the filter.
pub(crate) const UDP_PROXY: &str = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig";

/// The handling of a UDP listener's datagrams.
pub(crate) fn udp_listener(
    scope: &mut Scope,
    filters: Vec<ListenerFilter>,
    config: Option<UdpListenerConfig>,
) -> Result<Arc<UdpProxy>, Fault> {
    let max_received = scope.at("udp_listener_config", |scope| {
        let config = config.unwrap_or_default();
        fields!(scope, config => UdpListenerConfig {
            use { downstream_socket_config, quic_options }
            warn { udp_packet_packet_writer_config }
            quiet { }
        });
        if quic_options.is_some() {
            return Err(scope.field_fault("quic_options", "is not supported"));
        }
        largest(scope, "downstream_socket_config", downstream_socket_config, MAX_RECEIVED)
    })?;
    let [filter] = <[ListenerFilter; 1]>::try_from(filters).map_err(|filters| {
        let count = filters.len();
        scope.field_fault(
            "listener_filters",
            format_args!("a UDP listener has one, the UDP proxy; there are {count}"),
        )
    })?;
    scope.at("listener_filters[0]", |scope| {
        scope.unused("filter_disabled", &filter.filter_disabled);
        let any = match scope.required("typed_config", filter.config_type)? {
            listener_filter::ConfigType::TypedConfig(any) => any,
            listener_filter::ConfigType::ConfigDiscovery(_) => {
                return Err(scope.field_fault("config_discovery", "is not supported"));
            }
        };
        match type_name(&any) {
            UDP_PROXY => Ok(Arc::new(udp_proxy(scope, &any, max_received)?)),
            other => Err(scope
                .fault(format_args!("the filter {other} is not supported for UDP listeners; use udp_proxy"))),
        }
    })
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn udp_proxy(scope: &mut Scope, any: &Any, max_received: usize) -> Result<UdpProxy, Fault> {
    let message: pb::UdpProxyConfig = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::UdpProxyConfig {
        use {
            stat_prefix, route_specifier, idle_timeout, use_original_src_ip, hash_policies, upstream_socket_config, use_per_packet_load_balancing,
            access_log, session_filters, tunneling_config,
        }
        warn { proxy_access_log, access_log_options }
        quiet { }
    });
    // Left out, each of these would send datagrams where they were not meant to go, or as somebody else.
    let unsupported = [
        ("use_original_src_ip", use_original_src_ip),
        ("tunneling_config", tunneling_config.is_some()),
        ("session_filters", !session_filters.is_empty()),
    ];
    if let Some((field, _)) = unsupported.into_iter().find(|(_, set)| *set) {
        return Err(scope.field_fault(field, "is not supported"));
    }
    if stat_prefix.is_empty() {
        return Err(scope.field_fault("stat_prefix", "is empty"));
    }
    let cluster = match scope.required("route_specifier", route_specifier)? {
        RouteSpecifier::Cluster(name) => name,
        RouteSpecifier::Matcher(matcher) => scope.at("matcher", |scope| unconditional(scope, matcher))?,
    };
    if cluster.is_empty() {
        return Err(scope.field_fault("route_specifier", "names no cluster"));
    }
    let idle_timeout = scope.duration("idle_timeout", idle_timeout)?.unwrap_or(IDLE);
    if idle_timeout.is_zero() {
        return Err(scope.field_fault("idle_timeout", "must be above 0"));
    }
    Ok(UdpProxy {
        stat_prefix: stat_prefix.into(),
        cluster: cluster.into(),
        idle_timeout,
        hash: hash(scope, hash_policies)?,
        per_datagram: use_per_packet_load_balancing,
        max_received,
        max_answered: largest(scope, "upstream_socket_config", upstream_socket_config, MAX_ANSWERED)?,
        access_logs: access_logs(scope, access_log)?,
    })
}

/// The cluster of a tree without conditions.
fn unconditional(scope: &mut Scope, matcher: Matcher) -> Result<String, Fault> {
    let Matcher { on_no_match, matcher_type } = matcher;
    if matcher_type.is_some() {
        return Err(scope.fault("conditions (matcher_list, matcher_tree) are not supported; use on_no_match"));
    }
    let found = *scope.required("on_no_match", on_no_match)?;
    scope.unused("on_no_match.keep_matching", &found.keep_matching);
    match scope.required("on_no_match", found.on_match)? {
        // Trees in trees could be deep.
        OnMatch::Matcher(_) => Err(scope.field_fault("on_no_match.matcher", "is not supported; use action")),
        OnMatch::Action(action) => scope.at("on_no_match.action", |scope| {
            let any = scope.required("typed_config", action.typed_config)?;
            let pb::Route { cluster } = unpack(&any).map_err(|error| scope.fault(error))?;
            Ok(cluster)
        }),
    }
}

fn hash(scope: &mut Scope, policies: Vec<HashPolicy>) -> Result<Option<DatagramHash>, Fault> {
    if policies.len() > 1 {
        return Err(scope.field_fault("hash_policies", "may have one entry"));
    }
    let Some(policy) = policies.into_iter().next() else { return Ok(None) };
    match policy.policy_specifier {
        Some(PolicySpecifier::SourceIp(true)) => Ok(Some(DatagramHash::SourceIp)),
        Some(PolicySpecifier::Key(key)) if !key.is_empty() => Ok(Some(DatagramHash::Key(key.into()))),
        _ => Err(scope.field_fault("hash_policies[0]", "must be source_ip or a key")),
    }
}

/// The largest datagram that a socket takes.
fn largest(
    scope: &mut Scope,
    field: &str,
    config: Option<UdpSocketConfig>,
    default: usize,
) -> Result<usize, Fault> {
    scope.at(field, |scope| {
        // How many datagrams are read at once is ours to know.
        let UdpSocketConfig { max_rx_datagram_size, prefer_gro: _ } = config.unwrap_or_default();
        match max_rx_datagram_size.map(|size| size.value) {
            None => Ok(default),
            Some(size @ 1..=65535) => Ok(usize::try_from(size).unwrap_or(default)),
            Some(_) => Err(scope.field_fault("max_rx_datagram_size", "must be 1 to 65535")),
        }
    })
}
