// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes clusters.

use crate::decode::cluster_policy::{breakers, outlier};
use crate::decode::endpoints::endpoints;
use crate::decode::health_check::health_check;
use crate::decode::http::{http1, http2};
use crate::decode::load_balancing::{self, load_balancing};
use crate::decode::tls::{over_ads, upstream};
use crate::decode::{Fault, Scope, fields, number, type_name};
use crate::{
    Cluster, ConnectionSettings, Discovery, DnsFamily, DnsSettings, EndpointAddress, Endpoints,
    UpstreamProtocol,
};
use gateway_xds_api::pb::envoy::config::cluster::v3::{self as pb, cluster};
use gateway_xds_api::pb::envoy::config::core::v3 as core;
use gateway_xds_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::{
    self as http_pb, http_protocol_options as options_pb,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

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
        }
        warn {
             upstream_http_protocol_options, common_http_protocol_options, http_protocol_options, dns_resolvers, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config,
            upstream_bind_config, protocol_selection, close_connections_on_host_health_failure, filters,
            lrs_server, upstream_config, preconnect_policy, connection_pool_per_downstream_connection, queuing_policies,
            per_connection_buffer_high_watermark_timeout,
        }
        quiet {
            alt_stat_name, stats_matcher, wait_for_warm_on_init, cleanup_interval, metadata, ignore_health_on_host_removal,
            lrs_report_endpoint_metrics, track_timeout_budgets, track_cluster_stats,
        }
    });
    if !transport_socket_matches.is_empty() || transport_socket_matcher.is_some() {
        return Err(scope.field_fault("transport_socket_matches", "is not supported; use transport_socket"));
    }
    if respect_dns_ttl {
        scope.warn(
            "respect_dns_ttl",
            "has no effect: the system's resolver tells no ttl; dns_refresh_rate counts",
        );
    }
    let dns = DnsSettings {
        refresh: scope.limit("dns_refresh_rate", dns_refresh_rate, None)?.unwrap_or(Duration::from_secs(5)),
        failure_refresh: dns_failure_refresh_rate.map(|rate| failure_refresh(scope, rate)).transpose()?,
        jitter: scope.duration("dns_jitter", dns_jitter)?.unwrap_or_default(),
        family: dns_family(scope, dns_lookup_family)?,
    };
    let discovery = discovery(scope, cluster_discovery_type, eds_cluster_config, load_assignment, dns)?;
    let mut http = HttpOptions::default();
    if http2_protocol_options.is_some() {
        http.protocol = UpstreamProtocol::Http2;
    }
    http.connection.max_requests = number(max_requests_per_connection).filter(|count| *count > 0);
    http.connection.buffer_limit = number(per_connection_buffer_limit_bytes).filter(|bytes| *bytes > 0);
    extension_options(scope, &mut http, typed_extension_protocol_options)?;
    if let Some(options) = upstream_connection_options {
        scope.unused("upstream_connection_options.happy_eyeballs_config", &options.happy_eyeballs_config);
        http.connection.tcp_keepalive = options
            .tcp_keepalive
            .map(|keepalive| Duration::from_secs(number(keepalive.keepalive_time).unwrap_or(7200).into()));
    }
    let tls = scope.at("transport_socket", |scope| upstream(scope, transport_socket))?;
    if http.protocol == UpstreamProtocol::Auto && tls.is_none() {
        return Err(
            scope.field_fault("auto_config", "needs a tls transport_socket, which negotiates the protocol")
        );
    }
    if health_checks.len() > 1 {
        return Err(scope.field_fault("health_checks", "only one is supported, as in Envoy"));
    }
    let balancing = load_balancing::Parts {
        policy: lb_policy,
        config: lb_config,
        common: common_lb_config,
        subsets: lb_subset_config,
        extensible: load_balancing_policy,
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
        tls,
        circuit_breakers: breakers(scope, circuit_breakers.unwrap_or_default()),
        outlier_detection: outlier_detection
            .map(|outliers| scope.at("outlier_detection", |scope| outlier(scope, outliers)))
            .transpose()?,
        health_checks: scope.each("health_checks", health_checks, health_check)?.into(),
    })
}

fn dns_family(scope: &Scope, value: i32) -> Result<DnsFamily, Fault> {
    match cluster::DnsLookupFamily::try_from(value) {
        Ok(cluster::DnsLookupFamily::Auto) => Ok(DnsFamily::Auto),
        Ok(cluster::DnsLookupFamily::V4Only) => Ok(DnsFamily::V4),
        Ok(cluster::DnsLookupFamily::V6Only) => Ok(DnsFamily::V6),
        Ok(cluster::DnsLookupFamily::V4Preferred) => Ok(DnsFamily::V4Preferred),
        Ok(cluster::DnsLookupFamily::All) => Ok(DnsFamily::All),
        Err(_) => Err(scope.field_fault("dns_lookup_family", "is unknown")),
    }
}

fn failure_refresh(scope: &mut Scope, rate: cluster::RefreshRate) -> Result<(Duration, Duration), Fault> {
    scope.at("dns_failure_refresh_rate", |scope| {
        let base = scope.limit("base_interval", rate.base_interval, None)?;
        let base = scope.required("base_interval", base)?;
        let max = scope.limit("max_interval", rate.max_interval, None)?.unwrap_or(base * 10);
        match max < base {
            true => Err(scope.field_fault("max_interval", "is below base_interval")),
            false => Ok((base, max)),
        }
    })
}

fn discovery(
    scope: &mut Scope,
    kind: Option<cluster::ClusterDiscoveryType>,
    eds: Option<cluster::EdsClusterConfig>,
    assignment: Option<ClusterLoadAssignment>,
    dns: DnsSettings,
) -> Result<Discovery, Fault> {
    let kind = match kind {
        None => cluster::DiscoveryType::Static,
        Some(cluster::ClusterDiscoveryType::Type(kind)) => {
            cluster::DiscoveryType::try_from(kind).map_err(|_| scope.field_fault("type", "is unknown"))?
        }
        Some(cluster::ClusterDiscoveryType::ClusterType(custom)) => {
            return Err(scope.field_fault("cluster_type", format_args!("{:?} is not supported", custom.name)));
        }
    };
    if kind == cluster::DiscoveryType::Eds {
        let cluster::EdsClusterConfig { eds_config, service_name } =
            scope.required("eds_cluster_config", eds)?;
        over_ads(scope, "eds_cluster_config.eds_config", eds_config)?;
        return Ok(Discovery::Eds {
            service_name: Some(service_name).filter(|name| !name.is_empty()).map(Into::into),
        });
    }
    let assignment = assignment.unwrap_or_default();
    let written: Endpoints = scope.at("load_assignment", |scope| endpoints(scope, assignment))?;
    let named = written
        .localities
        .iter()
        .flat_map(|l| &l.endpoints)
        .any(|e| matches!(e.address, EndpointAddress::Name { .. }));
    match kind {
        cluster::DiscoveryType::Static if named => Err(scope
            .field_fault("load_assignment", "a STATIC cluster needs ip addresses; use STRICT_DNS for names")),
        cluster::DiscoveryType::Static => Ok(Discovery::Static(Arc::new(written))),
        cluster::DiscoveryType::StrictDns => Ok(Discovery::StrictDns(Arc::new(written), dns)),
        cluster::DiscoveryType::LogicalDns
            if written.localities.iter().map(|locality| locality.endpoints.len()).sum::<usize>() != 1 =>
        {
            Err(scope.field_fault("load_assignment", "a LOGICAL_DNS cluster needs exactly one endpoint"))
        }
        cluster::DiscoveryType::LogicalDns => Ok(Discovery::LogicalDns(Arc::new(written), dns)),
        cluster::DiscoveryType::Eds | cluster::DiscoveryType::OriginalDst => {
            Err(scope.field_fault("type", "ORIGINAL_DST is not supported"))
        }
    }
}

#[derive(Default)]
struct HttpOptions {
    protocol: UpstreamProtocol,
    connection: ConnectionSettings,
}

fn extension_options(
    scope: &mut Scope,
    http: &mut HttpOptions,
    options: HashMap<String, Any>,
) -> Result<(), Fault> {
    for (name, any) in options {
        scope.at(format_args!("typed_extension_protocol_options[{name:?}]"), |scope| {
            if type_name(&any) != HTTP_OPTIONS {
                return Err(scope.fault(format_args!("{} is not supported", type_name(&any))));
            }
            http_options(scope, http, unpack(&any).map_err(|error| scope.fault(error))?)
        })?;
    }
    Ok(())
}

fn http_options(
    scope: &mut Scope,
    http: &mut HttpOptions,
    options: http_pb::HttpProtocolOptions,
) -> Result<(), Fault> {
    fields!(scope, options => http_pb::HttpProtocolOptions {
        use { common_http_protocol_options, upstream_protocol_options, upstream_http_protocol_options }
        warn { http_filters, header_validation_config, outlier_detection, request_mirror_policies, hash_policy, retry_policy }
        quiet { }
    });
    if let Some(options) = upstream_http_protocol_options {
        // Asked for so that the server name follows the request; connections are shared between authorities here.
        scope.unused("upstream_http_protocol_options", &options);
    }
    if let Some(common) = common_http_protocol_options {
        scope.at("common_http_protocol_options", |scope| {
            connection_options(scope, &mut http.connection, common)
        })?;
    }
    match upstream_protocol_options {
        None => {}
        Some(options_pb::UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            scope.at("explicit_http_config", |scope| {
                use options_pb::explicit_http_config::ProtocolConfig;
                match explicit.protocol_config {
                    None => Err(scope.field_fault("protocol_config", "is missing")),
                    Some(ProtocolConfig::HttpProtocolOptions(options)) => {
                        http1(scope, options);
                        http.protocol = UpstreamProtocol::Http1;
                        Ok(())
                    }
                    Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                        http.protocol = UpstreamProtocol::Http2;
                        stream_options(scope, &mut http.connection, options);
                        Ok(())
                    }
                    Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                        Err(scope.field_fault("http3_protocol_options", "is not supported"))
                    }
                }
            })?
        }
        Some(options_pb::UpstreamProtocolOptions::UseDownstreamProtocolConfig(options)) => {
            http.protocol = UpstreamProtocol::Downstream;
            scope.unused(
                "use_downstream_protocol_config.http3_protocol_options",
                &options.http3_protocol_options,
            );
            stream_options(scope, &mut http.connection, options.http2_protocol_options.unwrap_or_default());
        }
        Some(options_pb::UpstreamProtocolOptions::AutoConfig(options)) => {
            http.protocol = UpstreamProtocol::Auto;
            scope.unused("auto_config.http3_protocol_options", &options.http3_protocol_options);
            stream_options(scope, &mut http.connection, options.http2_protocol_options.unwrap_or_default());
        }
    }
    Ok(())
}

fn stream_options(
    scope: &mut Scope,
    connection: &mut ConnectionSettings,
    options: core::Http2ProtocolOptions,
) {
    let streams = scope.at("http2_protocol_options", |scope| http2(scope, options));
    connection.max_concurrent_streams = streams.max_concurrent;
    connection.initial_stream_window = streams.stream_window;
    connection.initial_connection_window = streams.connection_window;
}

fn connection_options(
    scope: &mut Scope,
    connection: &mut ConnectionSettings,
    options: core::HttpProtocolOptions,
) -> Result<(), Fault> {
    fields!(scope, options => core::HttpProtocolOptions {
        use { idle_timeout, max_connection_duration, max_requests_per_connection }
        warn { max_connection_duration_jitter, max_response_headers_kb, max_headers_count, max_stream_duration, headers_with_underscores_action }
        quiet { }
    });
    connection.idle_timeout = scope.limit("idle_timeout", idle_timeout, Some(Duration::from_hours(1)))?;
    connection.max_duration = scope.limit("max_connection_duration", max_connection_duration, None)?;
    connection.max_requests =
        number(max_requests_per_connection).filter(|count| *count > 0).or(connection.max_requests);
    Ok(())
}
