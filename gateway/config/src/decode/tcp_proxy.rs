// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the TCP proxy.

use crate::decode::{Fault, Scope, fields, number};
use crate::{TcpCluster, TcpProxy};
use gateway_xds_api::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    self as pb, tcp_proxy::ClusterSpecifier,
};
use gateway_xds_api::pb::envoy::r#type::v3::hash_policy::PolicySpecifier;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::time::Duration;

/// Envoy's default of the idle timeout.
const IDLE: Duration = Duration::from_hours(1);

/// The TCP proxy of a filter chain.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn tcp_proxy(scope: &mut Scope, any: &Any) -> Result<TcpProxy, Fault> {
    let message: pb::TcpProxy = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::TcpProxy {
        use {
            stat_prefix, cluster_specifier, idle_timeout, max_connect_attempts, hash_policy, max_downstream_connection_duration, tunneling_config,
            on_demand, metadata_match,
        }
        warn {
            downstream_idle_timeout, upstream_idle_timeout, access_log, backoff_options, max_downstream_connection_duration_jitter_percentage,
            access_log_flush_interval, flush_access_log_on_connected, access_log_options, proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy,
            upstream_connect_mode, max_early_data_bytes, check_drain_close,
        }
        quiet { }
    });
    // Left out, each of these would send bytes where they were not meant to go.
    let unsupported = [
        ("tunneling_config", tunneling_config.is_some()),
        ("on_demand", on_demand.is_some()),
        ("metadata_match", metadata_match.is_some()),
    ];
    if let Some((field, _)) = unsupported.into_iter().find(|(_, set)| *set) {
        return Err(scope.field_fault(field, "is not supported"));
    }
    if stat_prefix.is_empty() {
        return Err(scope.field_fault("stat_prefix", "is empty"));
    }
    let clusters = match scope.required("cluster_specifier", cluster_specifier)? {
        ClusterSpecifier::Cluster(name) => vec![TcpCluster { name: name.into(), weight: 1 }],
        ClusterSpecifier::WeightedClusters(weighted) => {
            scope.each("weighted_clusters.clusters", weighted.clusters, |scope, cluster| {
                if cluster.metadata_match.is_some() {
                    return Err(scope.field_fault("metadata_match", "is not supported"));
                }
                if cluster.weight == 0 {
                    return Err(scope.field_fault("weight", "must be above 0"));
                }
                Ok(TcpCluster { name: cluster.name.into(), weight: cluster.weight })
            })?
        }
    };
    if clusters.is_empty() || clusters.iter().any(|cluster| cluster.name.is_empty()) {
        return Err(scope.field_fault("cluster_specifier", "names no cluster"));
    }
    let hash_source_ip = match hash_policy.into_iter().next().map(|policy| policy.policy_specifier) {
        None => false,
        Some(Some(PolicySpecifier::SourceIp(_))) => true,
        Some(_) => return Err(scope.field_fault("hash_policy[0]", "must be source_ip")),
    };
    let max_connect_attempts = number(max_connect_attempts).unwrap_or(1);
    if max_connect_attempts == 0 {
        return Err(scope.field_fault("max_connect_attempts", "must be above 0"));
    }
    Ok(TcpProxy {
        stat_prefix: stat_prefix.into(),
        clusters: clusters.into(),
        idle_timeout: scope.limit("idle_timeout", idle_timeout, Some(IDLE))?,
        max_connect_attempts,
        max_duration: scope
            .duration("max_downstream_connection_duration", max_downstream_connection_duration)?,
        hash_source_ip,
    })
}
