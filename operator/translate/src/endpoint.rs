// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Load assignments: where a backend's endpoints are now.

use crate::wire::socket_address;
use crate::{LiveEndpoint, names};
use gateway_xds_api::pb::envoy::config::core::v3::{HealthStatus, Locality};
use gateway_xds_api::pb::envoy::config::endpoint::v3 as endpoint;
use operator_ir::BackendId;
use std::collections::BTreeMap;

/// One locality for each zone, in the zones' order.
pub(crate) fn assignment(id: &BackendId, endpoints: &[LiveEndpoint]) -> endpoint::ClusterLoadAssignment {
    let mut zones: BTreeMap<&str, Vec<&LiveEndpoint>> = BTreeMap::new();
    for live in endpoints {
        zones.entry(live.zone.as_deref().unwrap_or_default()).or_default().push(live);
    }
    let localities = zones.into_iter().map(|(zone, mut members)| {
        members.sort();
        endpoint::LocalityLbEndpoints {
            locality: (!zone.is_empty()).then(|| Locality { zone: zone.to_owned(), ..Default::default() }),
            lb_endpoints: members.into_iter().map(lb_endpoint).collect(),
            ..Default::default()
        }
    });
    endpoint::ClusterLoadAssignment {
        cluster_name: names::cluster(id),
        endpoints: localities.collect(),
        ..Default::default()
    }
}

fn lb_endpoint(live: &LiveEndpoint) -> endpoint::LbEndpoint {
    let address = Some(socket_address(live.address.ip(), live.address.port()));
    endpoint::LbEndpoint {
        health_status: HealthStatus::Healthy.into(),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address,
            ..Default::default()
        })),
        ..Default::default()
    }
}
