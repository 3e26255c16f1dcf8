// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `/clusters` as Envoy writes it, text and JSON: limits of clusters, hosts with their numbers and their health.

use super::hosts::{self, ClusterHosts, Host};
use super::json;
use crate::process::Shared;
use gateway_config::{CircuitBreakers, Discovery, EndpointHealth};
use gateway_telemetry::{Page, PageRequest};
use gateway_upstream::{HostMetrics, HostState, MetricKind};
use gateway_xds_api::pb::envoy::admin::v3::{
    ClusterStatus, Clusters, HostHealthStatus, HostStatus, SimpleMetric, simple_metric,
};
use gateway_xds_api::pb::envoy::config::cluster::v3::CircuitBreakers as CircuitBreakersMessage;
use gateway_xds_api::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use gateway_xds_api::pb::envoy::config::core::v3::{HealthStatus, RoutingPriority};
use gateway_xds_api::pb::google::protobuf::UInt32Value;
use http::StatusCode;
use std::fmt::{Display, Write};

/// The page.
pub(super) fn page(shared: &Shared, request: &PageRequest<'_>) -> Page {
    let clusters = hosts::clusters(shared);
    if request.parameter("format") != Some("json") {
        let mut text = String::new();
        clusters.iter().for_each(|cluster| write_cluster(&mut text, cluster));
        return Page::text(StatusCode::OK, text);
    }
    json::message(&Clusters { cluster_statuses: clusters.iter().map(status).collect() })
}

/// The priorities of limits.
fn limits(cluster: &ClusterHosts) -> [(RoutingPriority, &'static str, CircuitBreakers); 2] {
    [
        (RoutingPriority::Default, "default", cluster.cluster.limits.default),
        (RoutingPriority::High, "high", cluster.cluster.limits.high),
    ]
}

/// A host's numbers, in the order of their names.
fn numbers(host: &Host) -> Vec<(&'static str, MetricKind, u64)> {
    let state = host.state.as_ref();
    let mut all: Vec<_> = match state {
        Some(state) => state.numbers.iter().collect(),
        None => HostMetrics::default().iter().collect(),
    };
    let of = |read: fn(&HostState) -> u64| state.map(|state| read(state)).unwrap_or_default();
    all.extend([
        ("rq_active", MetricKind::Gauge, of(|state| state.active().into())),
        ("rq_error", MetricKind::Counter, of(HostState::errors)),
        ("rq_total", MetricKind::Counter, of(HostState::requests)),
    ]);
    all.sort_by_key(|(name, ..)| *name);
    all
}

fn write_cluster(text: &mut String, cluster: &ClusterHosts) {
    let name = &cluster.name;
    let mut line = |field: &str, value: &dyn Display| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}::{field}::{value}");
    };
    line("observability_name", name);
    if cluster.cluster.outlier_detection.is_some() {
        for field in ["success_rate_average", "success_rate_ejection_threshold"] {
            line(&format!("outlier::{field}"), &-1);
            line(&format!("outlier::local_origin_{field}"), &-1);
        }
    }
    for (_, priority, limits) in limits(cluster) {
        for (field, limit) in [
            ("max_connections", limits.max_connections),
            ("max_pending_requests", limits.max_pending_requests),
            ("max_requests", limits.max_requests),
            ("max_retries", limits.max_retries),
        ] {
            line(&format!("{priority}_priority::{field}"), &limit);
        }
    }
    line("added_via_api", &true);
    if let Some(service) = eds_service_name(cluster) {
        line("eds_service_name", &service);
    }
    for host in cluster.hosts() {
        let mut of_host =
            |field: &str, value: &dyn Display| line(&format!("{}::{field}", host.address), value);
        for (name, _, value) in numbers(&host) {
            of_host(name, &value);
        }
        of_host("hostname", &host.hostname);
        of_host("health_flags", &health_flags(&host));
        of_host("weight", &host.weight);
        of_host("region", &host.place.region);
        of_host("zone", &host.place.zone);
        of_host("sub_zone", &host.place.sub_zone);
        of_host("canary", &false);
        of_host("priority", &host.priority);
        of_host("success_rate", &-1);
        of_host("local_origin_success_rate", &-1);
    }
}

/// The name of its endpoints, where that is another one.
fn eds_service_name(cluster: &ClusterHosts) -> Option<&str> {
    let named = matches!(cluster.cluster.discovery, Discovery::Eds { .. });
    Some(cluster.cluster.endpoints_name()).filter(|service| named && *service != cluster.name)
}

fn health_flags(host: &Host) -> String {
    let standing = host.standing();
    let told = host.told;
    let flags = [
        ("/failed_active_hc", standing.failed_active),
        ("/failed_outlier_check", standing.ejected),
        ("/failed_eds_health", told == EndpointHealth::Unhealthy),
        ("/degraded_active_hc", standing.degraded_active),
        ("/degraded_eds_health", told == EndpointHealth::Degraded),
        ("/pending_active_hc", standing.pending),
        ("/excluded_via_immediate_hc_fail", standing.excluded),
        ("/eds_status_draining", told == EndpointHealth::Draining),
    ];
    let set: String = flags.into_iter().filter_map(|(flag, set)| set.then_some(flag)).collect();
    if set.is_empty() { "healthy".to_owned() } else { set }
}

fn status(cluster: &ClusterHosts) -> ClusterStatus {
    let some = |value| Some(UInt32Value { value });
    let thresholds = limits(cluster).map(|(priority, _, limits)| Thresholds {
        priority: priority.into(),
        max_connections: some(limits.max_connections),
        max_pending_requests: some(limits.max_pending_requests),
        max_requests: some(limits.max_requests),
        max_retries: some(limits.max_retries),
        ..Thresholds::default()
    });
    ClusterStatus {
        name: cluster.name.clone(),
        added_via_api: true,
        host_statuses: cluster.hosts().into_iter().map(host_status).collect(),
        circuit_breakers: Some(CircuitBreakersMessage {
            thresholds: thresholds.into(),
            ..CircuitBreakersMessage::default()
        }),
        observability_name: cluster.name.clone(),
        eds_service_name: eds_service_name(cluster).unwrap_or_default().to_owned(),
        ..ClusterStatus::default()
    }
}

fn host_status(host: Host) -> HostStatus {
    let standing = host.standing();
    let metric = |(name, kind, value): (&str, MetricKind, u64)| SimpleMetric {
        name: name.to_owned(),
        value,
        r#type: match kind {
            MetricKind::Counter => simple_metric::Type::Counter.into(),
            MetricKind::Gauge => simple_metric::Type::Gauge.into(),
        },
    };
    let told = match host.told {
        EndpointHealth::Healthy => HealthStatus::Healthy,
        EndpointHealth::Degraded => HealthStatus::Degraded,
        EndpointHealth::Draining => HealthStatus::Draining,
        EndpointHealth::Unhealthy => HealthStatus::Unhealthy,
    };
    HostStatus {
        address: Some(hosts::address(&host.address)),
        stats: numbers(&host).into_iter().map(metric).collect(),
        health_status: Some(HostHealthStatus {
            failed_active_health_check: standing.failed_active,
            failed_outlier_check: standing.ejected,
            failed_active_degraded_check: standing.degraded_active,
            pending_active_hc: standing.pending,
            excluded_via_immediate_hc_fail: standing.excluded,
            eds_health_status: told.into(),
            ..HostHealthStatus::default()
        }),
        weight: host.weight,
        priority: host.priority,
        locality: Some(host.locality()),
        hostname: host.hostname,
        ..HostStatus::default()
    }
}
