// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes clusters.

use crate::decode::cluster_connection::{
    HttpOptions, extension_options, http_options, source_addresses, tcp_keepalive,
};
use crate::decode::cluster_policy::{limits, outlier};
use crate::decode::discovery::{Names, discovery, dns_family, dns_settings};
use crate::decode::dns_servers::{older, resolver};
use crate::decode::health_check::health_check;
use crate::decode::load_balancing::{self, load_balancing};
use crate::decode::socket::{socket, socket_matches};
use crate::decode::{Fault, Scope, fields, number};
use crate::{Cluster, Discovery, UpstreamProtocol};
use gateway_xds_api::pb::envoy::config::cluster::v3 as pb;
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3 as http_pb;
use std::time::Duration;

/// A cluster.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
#[allow(clippy::too_many_lines, reason = "the list of fields is long")]
pub(crate) fn cluster(scope: &mut Scope, message: pb::Cluster) -> Result<Cluster, Fault> {
    fields!(scope, message => pb::Cluster {
        use {
            per_connection_buffer_limit_bytes, name, eds_cluster_config, connect_timeout, lb_policy, load_assignment, health_checks, circuit_breakers, typed_extension_protocol_options,
            dns_refresh_rate, dns_lookup_family, outlier_detection, common_lb_config, transport_socket, upstream_connection_options,
            cluster_discovery_type, lb_config, http2_protocol_options, max_requests_per_connection, transport_socket_matches,
            transport_socket_matcher, lb_subset_config, load_balancing_policy, dns_jitter, dns_failure_refresh_rate, respect_dns_ttl,
            upstream_http_protocol_options, common_http_protocol_options, connection_pool_per_downstream_connection,
            upstream_bind_config, dns_resolvers, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config,
        }
        warn {
            http_protocol_options,
            protocol_selection, close_connections_on_host_health_failure, filters,
            lrs_server, upstream_config, preconnect_policy, queuing_policies,
            per_connection_buffer_high_watermark_timeout,
        }
        quiet {
            alt_stat_name, stats_matcher, wait_for_warm_on_init, cleanup_interval, metadata, ignore_health_on_host_removal,
            lrs_report_endpoint_metrics, track_timeout_budgets, track_cluster_stats,
        }
    });
    if transport_socket_matcher.is_some() {
        return Err(
            scope.field_fault("transport_socket_matcher", "is not supported; use transport_socket_matches")
        );
    }
    let servers = match typed_dns_resolver_config {
        Some(config) => resolver(scope, config)?,
        None => older(scope, dns_resolution_config, (dns_resolvers, use_tcp_for_dns_lookups))?,
    };
    let names = Names {
        refresh: dns_refresh_rate,
        failure: dns_failure_refresh_rate.map(|rate| (rate.base_interval, rate.max_interval)),
        jitter: dns_jitter,
        min_refresh: None,
        respect_ttl: respect_dns_ttl,
        servers,
    };
    let dns = dns_settings(scope, names, dns_family(scope, dns_lookup_family)?)?;
    let discovery = discovery(scope, cluster_discovery_type, eds_cluster_config, load_assignment, dns)?;
    let mut http = HttpOptions::default();
    if http2_protocol_options.is_some() {
        http.protocol = UpstreamProtocol::Http2;
    }
    http.connection.max_requests = number(max_requests_per_connection).filter(|count| *count > 0);
    http.connection.buffer_limit = number(per_connection_buffer_limit_bytes).filter(|bytes| *bytes > 0);
    let older = http_pb::HttpProtocolOptions {
        common_http_protocol_options,
        upstream_http_protocol_options,
        ..http_pb::HttpProtocolOptions::default()
    };
    http_options(scope, &mut http, older)?;
    extension_options(scope, &mut http, typed_extension_protocol_options)?;
    if let Some(options) = upstream_connection_options {
        scope.unused("upstream_connection_options.happy_eyeballs_config", &options.happy_eyeballs_config);
        http.connection.tcp_keepalive = options.tcp_keepalive.map(tcp_keepalive);
    }
    let socket = scope.at("transport_socket", |scope| socket(scope, transport_socket))?;
    let socket_matches = socket_matches(scope, transport_socket_matches)?;
    let encrypted = socket.tls.is_some() || socket_matches.iter().any(|found| found.socket.tls.is_some());
    if http.protocol == UpstreamProtocol::Auto && !encrypted {
        return Err(
            scope.field_fault("auto_config", "needs a tls transport_socket, which negotiates the protocol")
        );
    }
    if health_checks.len() > 1 {
        return Err(scope.field_fault("health_checks", "only one is supported, as in Envoy"));
    }
    let hashing = common_lb_config.as_ref().and_then(|common| common.consistent_hashing_lb_config.as_ref());
    if hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing)
        && matches!(discovery, Discovery::Static(_) | Discovery::LogicalDns(..))
    {
        return Err(scope.field_fault(
            "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
            "needs a cluster of type EDS or STRICT_DNS, whose endpoints have names of their own",
        ));
    }
    let balancing = load_balancing::Parts {
        policy: lb_policy,
        config: lb_config,
        common: common_lb_config,
        subsets: lb_subset_config,
        extensible: load_balancing_policy,
        provided: matches!(discovery, Discovery::Aggregate(_)),
    };
    Ok(Cluster {
        name: name.into(),
        discovery,
        connect_timeout: scope
            .limit("connect_timeout", connect_timeout, None)?
            .unwrap_or(Duration::from_secs(5)),
        balancing: load_balancing(scope, balancing)?,
        protocol: http.protocol,
        connection: http.connection,
        socket,
        socket_matches,
        request_names: http.request_names,
        source_addresses: source_addresses(scope, upstream_bind_config)?,
        own_connections: connection_pool_per_downstream_connection,
        limits: limits(scope, circuit_breakers.unwrap_or_default())?,
        outlier_detection: outlier_detection
            .map(|outliers| scope.at("outlier_detection", |scope| outlier(scope, outliers)))
            .transpose()?,
        health_checks: scope.each("health_checks", health_checks, health_check)?.into(),
    })
}
