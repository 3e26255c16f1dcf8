// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters: how backends are reached.

use crate::names;
use crate::wire::{ads, any, millis, number, origin_metadata};
use gateway_xds_api::pb::envoy::config::cluster::v3 as cluster;
use gateway_xds_api::pb::envoy::config::core::v3::{Http1ProtocolOptions, Http2ProtocolOptions};
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3 as upstreams;
use operator_ir::{Backend, BackendProtocol};
use std::collections::HashMap;
use upstreams::http_protocol_options::explicit_http_config::ProtocolConfig;
use upstreams::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Connections and requests at a time to one backend; Envoy's 1024 is below what one busy Service takes.
const MAX_AT_ONCE: u32 = 16_384;
/// Retries at a time to one backend, so that a failing one is not buried.
const MAX_RETRIES: u32 = 64;

pub(crate) fn cluster(backend: &Backend) -> cluster::Cluster {
    let Backend { id, connect_timeout_ms, origin } = backend;
    let operator_ir::BackendId::Service { protocol, .. } = id;
    cluster::Cluster {
        name: names::cluster(id),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: names::cluster(id),
        }),
        connect_timeout: Some(millis(*connect_timeout_ms)),
        lb_policy: cluster::cluster::LbPolicy::RoundRobin.into(),
        circuit_breakers: Some(circuit_breakers()),
        typed_extension_protocol_options: HashMap::from([(
            PROTOCOL_OPTIONS.to_owned(),
            any(&protocol_options(*protocol)),
        )]),
        metadata: Some(origin_metadata(origin)),
        ..Default::default()
    }
}

fn circuit_breakers() -> cluster::CircuitBreakers {
    let thresholds = cluster::circuit_breakers::Thresholds {
        max_connections: number(MAX_AT_ONCE),
        max_pending_requests: number(MAX_AT_ONCE),
        max_requests: number(MAX_AT_ONCE),
        max_retries: number(MAX_RETRIES),
        ..Default::default()
    };
    cluster::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

fn protocol_options(protocol: BackendProtocol) -> upstreams::HttpProtocolOptions {
    let config = match protocol {
        BackendProtocol::Http1 => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        BackendProtocol::Http2 => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default()),
    };
    let explicit = ExplicitHttpConfig { protocol_config: Some(config) };
    upstreams::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..Default::default()
    }
}
