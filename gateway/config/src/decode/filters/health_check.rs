// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the health check filter.

use crate::decode::route_match::header_matcher;
use crate::decode::{Fault, Scope};
use crate::{GatewayHealth, GatewayHealthMode, HealthCache};
use gateway_xds_api::pb::envoy::extensions::filters::http::health_check::v3 as pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;

/// The listener's health checks.
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<GatewayHealth, Fault> {
    let pb::HealthCheck { pass_through_mode, cache_time, cluster_min_healthy_percentages, headers } =
        unpack(any).map_err(|error| scope.fault(error))?;
    let pass_through = scope.required("pass_through_mode", pass_through_mode)?.value;
    let cache_time = scope.duration("cache_time", cache_time)?.filter(|time| !time.is_zero());
    let headers = scope.each("headers", headers, header_matcher)?.into();
    if !pass_through && cache_time.is_some() {
        return Err(scope.field_fault("cache_time", "needs pass_through_mode"));
    }
    if pass_through {
        scope.unused("cluster_min_healthy_percentages", &cluster_min_healthy_percentages);
        let cache = cache_time.map(HealthCache::new);
        return Ok(GatewayHealth { headers, mode: GatewayHealthMode::PassThrough(cache) });
    }
    let mut clusters = Vec::with_capacity(cluster_min_healthy_percentages.len());
    for (name, percent) in cluster_min_healthy_percentages {
        if !(0.0..=100.0).contains(&percent.value) {
            let field = format!("cluster_min_healthy_percentages[{name:?}]");
            return Err(scope.field_fault(&field, "must be from 0 to 100"));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100, as Envoy cuts it"
        )]
        clusters.push((name.into_boxed_str(), percent.value as u32));
    }
    clusters.sort();
    Ok(GatewayHealth { headers, mode: GatewayHealthMode::Answer(clusters.into()) })
}
