// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the bandwidth limit filter.

use crate::decode::{Fault, Scope, fields};
use crate::filters::{Bandwidth, BandwidthLimit};
use gateway_xds_api::pb::envoy::extensions::filters::http::bandwidth_limit::v3::{
    self as pb, bandwidth_limit::EnableMode,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::time::Duration;

/// Envoy's default and bounds of the interval.
const INTERVAL: Duration = Duration::from_millis(50);
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(1);

/// The listener's limit, or a route's.
pub(crate) fn limit(scope: &mut Scope, any: &Any) -> Result<BandwidthLimit, Fault> {
    let message: pb::BandwidthLimit = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::BandwidthLimit {
        use { stat_prefix, enable_mode, limit_kbps, fill_interval }
        warn { enable_response_trailers, response_trailer_prefix }
        quiet { runtime_enabled }
    });
    if stat_prefix.is_empty() {
        return Err(scope.field_fault("stat_prefix", "is empty"));
    }
    let interval = scope.duration("fill_interval", fill_interval)?.unwrap_or(INTERVAL);
    if !INTERVALS.contains(&interval) {
        return Err(scope.field_fault("fill_interval", "must be from 20 ms to 1 s"));
    }
    let (requests, responses) = match EnableMode::try_from(enable_mode) {
        Ok(EnableMode::Disabled) => (false, false),
        Ok(EnableMode::Request) => (true, false),
        Ok(EnableMode::Response) => (false, true),
        Ok(EnableMode::RequestAndResponse) => (true, true),
        Err(_) => return Err(scope.field_fault("enable_mode", "is not known")),
    };
    let kibibytes = match limit_kbps.map(|limit| limit.value) {
        Some(0) => return Err(scope.field_fault("limit_kbps", "must be above zero")),
        None if requests || responses => return Err(scope.field_fault("limit_kbps", "is missing")),
        limit => limit.unwrap_or(1),
    };
    let bandwidth = || Bandwidth::new(kibibytes.saturating_mul(1024), interval);
    Ok(BandwidthLimit {
        stat_prefix: stat_prefix.into(),
        requests: requests.then(bandwidth),
        responses: responses.then(bandwidth),
    })
}
