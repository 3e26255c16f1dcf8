// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Endpoints of a backend.

use crate::value::socket_address;
use crate::{Endpoint, Endpoints, names};
use gateway_xds_api::pb::envoy::config::core::v3::{HealthStatus, Locality};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints,
    lb_endpoint::HostIdentifier,
};
use gateway_xds_api::{PackedResource, ResourceType, pack};
use operator_ir::BackendId;

/// Packs the endpoints that take requests: the ready ones; where there is none, those that end but still serve
/// (KEP-1669, as kube-proxy does); so that the last pod of a rollout still answers.
pub(crate) fn load_assignment(id: &BackendId, endpoints: &Endpoints) -> PackedResource {
    let all = || endpoints.localities.iter().flat_map(|locality| &locality.endpoints);
    let any_ready = all().any(|endpoint| endpoint.ready);
    let takes = |endpoint: &&Endpoint| {
        if any_ready { endpoint.ready } else { endpoint.serving && endpoint.terminating }
    };
    let localities = endpoints.localities.iter().filter_map(|locality| {
        let lb_endpoints: Vec<LbEndpoint> =
            locality.endpoints.iter().filter(takes).map(lb_endpoint).collect();
        (!lb_endpoints.is_empty()).then(|| LocalityLbEndpoints {
            locality: Some(Locality {
                region: locality.region.clone(),
                zone: locality.zone.clone(),
                ..Locality::default()
            }),
            lb_endpoints,
            ..LocalityLbEndpoints::default()
        })
    });
    let name = names::cluster(id);
    let assignment = ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: localities.collect(),
        ..ClusterLoadAssignment::default()
    };
    let BackendId::Service { namespace, name: service, .. } = id;
    pack(ResourceType::ClusterLoadAssignment, name, &assignment, format!("Service {namespace}/{service}"))
}

fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let envoy = EnvoyEndpoint {
        address: socket_address(endpoint.address.to_string(), endpoint.port),
        ..EnvoyEndpoint::default()
    };
    LbEndpoint {
        health_status: HealthStatus::Healthy.into(),
        host_identifier: Some(HostIdentifier::Endpoint(envoy)),
        ..LbEndpoint::default()
    }
}
