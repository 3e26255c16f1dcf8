// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Endpoints with their health, as `?include_eds` shows them: also those of clusters that carry their own and of names.

use super::section::{Entry, List, Make, Section};
use crate::admin::hosts::{self, ClusterHosts, Host};
use crate::process::Shared;
use gateway_config::{Discovery, EndpointHealth};
use gateway_xds_api::pb::envoy::config::core::v3::HealthStatus;
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, cluster_load_assignment::Policy,
    endpoint::HealthCheckConfig, lb_endpoint::HostIdentifier,
};
use gateway_xds_api::pb::google::protobuf::{Any, UInt32Value};
use prost::{Message, Name};
use serde_json::json;

/// `envoy.admin.v3.EndpointsConfigDump`. Clusters all come from the control plane, so none is static.
pub(super) fn section(shared: &Shared) -> Section {
    let clusters = hosts::clusters(shared);
    let list = List {
        field: "dynamic_endpoint_configs",
        message: "envoy.admin.v3.EndpointsConfigDump.DynamicEndpointConfig",
        packed: "envoy.config.endpoint.v3.ClusterLoadAssignment",
        entries: clusters.into_iter().map(entry).collect(),
    };
    Section { message: "envoy.admin.v3.EndpointsConfigDump", single: Vec::new(), repeated: vec![list] }
}

fn entry(cluster: ClusterHosts) -> Entry {
    let name = match &cluster.cluster.discovery {
        Discovery::Eds { .. } => cluster.cluster.endpoints_name().to_owned(),
        _ => cluster.name.clone(),
    };
    let shown = name.clone();
    let make: Make = Box::new(move |descriptors| {
        let value = assignment(&shown, &cluster).encode_to_vec();
        let any = Any { type_url: ClusterLoadAssignment::type_url(), value };
        json!({"endpoint_config": descriptors.show(&any)})
    });
    Entry { name, make }
}

fn assignment(name: &str, cluster: &ClusterHosts) -> ClusterLoadAssignment {
    let mut places: Vec<(LocalityLbEndpoints, Vec<LbEndpoint>)> = Vec::new();
    for host in cluster.hosts() {
        let place = LocalityLbEndpoints {
            locality: Some(host.locality()),
            priority: host.priority,
            ..LocalityLbEndpoints::default()
        };
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, endpoints)) => endpoints.push(endpoint(host)),
            None => places.push((place, vec![endpoint(host)])),
        }
    }
    let overprovisioning = cluster.endpoints.as_ref().map_or(140, |endpoints| endpoints.overprovisioning);
    let endpoints =
        places.into_iter().map(|(place, lb_endpoints)| LocalityLbEndpoints { lb_endpoints, ..place });
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: endpoints.collect(),
        policy: Some(Policy {
            overprovisioning_factor: Some(UInt32Value { value: overprovisioning }),
            ..Policy::default()
        }),
        ..ClusterLoadAssignment::default()
    }
}

fn endpoint(host: Host) -> LbEndpoint {
    let status = match host.health() {
        EndpointHealth::Healthy => HealthStatus::Healthy,
        EndpointHealth::Degraded => HealthStatus::Degraded,
        EndpointHealth::Draining | EndpointHealth::Unhealthy => HealthStatus::Unhealthy,
    };
    let endpoint = Endpoint {
        address: Some(hosts::address(&host.address)),
        hostname: host.hostname,
        health_check_config: Some(HealthCheckConfig::default()),
        ..Endpoint::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        health_status: status.into(),
        load_balancing_weight: Some(UInt32Value { value: host.weight }),
        ..LbEndpoint::default()
    }
}
