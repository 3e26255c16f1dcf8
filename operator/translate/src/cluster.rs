// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters: how the gateway speaks to a backend.

use crate::canonical::{CLUSTER_METADATA, any, append, metadata};
use crate::names;
use crate::value::{ads, millis, number, seconds};
use gateway_xds_api::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use gateway_xds_api::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, OutlierDetection};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions,
};
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{PackedResource, ResourceType, pack_encoded};
use operator_ir::{Backend, BackendId, BackendProtocol};
use prost::Message;

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Seconds until an idle connection to a backend is closed; below the usual 60 s of application servers.
const IDLE_SECONDS: u32 = 55;
/// Connections, requests and waiting requests of one proxy to one backend.
const MOST_REQUESTS: u32 = 16_384;
/// Tries under way again at the same time.
const MOST_RETRIES: u32 = 64;
/// Failed connections in a row after which an endpoint is left alone.
const FAILURES: u32 = 5;
/// Seconds that it is left alone the first time.
const EJECTION_SECONDS: u32 = 10;
/// Share of endpoints that may be left alone.
const MOST_EJECTED: u32 = 50;

pub(crate) fn cluster(backend: &Backend) -> PackedResource {
    let name = names::cluster(&backend.id);
    let envoy = Cluster {
        name: name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), ..EdsClusterConfig::default() }),
        connect_timeout: Some(millis(backend.connect_timeout_ms.max(1))),
        per_connection_buffer_limit_bytes: number(32 << 10),
        lb_policy: LbPolicy::LeastRequest.into(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: number(MOST_REQUESTS),
                max_pending_requests: number(MOST_REQUESTS),
                max_requests: number(MOST_REQUESTS),
                max_retries: number(MOST_RETRIES),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        // One entry: the generated map has no order.
        typed_extension_protocol_options: [(PROTOCOL_OPTIONS.to_owned(), protocol(&backend.id))].into(),
        outlier_detection: Some(outlier_detection()),
        // An endpoint that Kubernetes took out gets no further request, healthy or not.
        ignore_health_on_host_removal: true,
        ..Cluster::default()
    };
    let mut value = envoy.encode_to_vec();
    append(&mut value, CLUSTER_METADATA, &metadata(&backend.origin));
    pack_encoded(ResourceType::Cluster, name, value, backend.origin.to_string())
}

/// Endpoints are ejected for connections that fail, never for what an application answers.
fn outlier_detection() -> OutlierDetection {
    OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: number(FAILURES),
        enforcing_consecutive_local_origin_failure: number(100),
        enforcing_consecutive_5xx: number(0),
        enforcing_success_rate: number(0),
        enforcing_local_origin_success_rate: number(0),
        base_ejection_time: seconds(EJECTION_SECONDS),
        max_ejection_percent: number(MOST_EJECTED),
        ..OutlierDetection::default()
    }
}

fn protocol(id: &BackendId) -> Any {
    let BackendId::Service { protocol, .. } = id;
    let protocol_config = match protocol {
        BackendProtocol::Http1 => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        BackendProtocol::Http2 => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default()),
    };
    any(&HttpProtocolOptions {
        common_http_protocol_options: Some(CommonOptions {
            idle_timeout: seconds(IDLE_SECONDS),
            ..CommonOptions::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol_config),
        })),
        ..HttpProtocolOptions::default()
    })
}
