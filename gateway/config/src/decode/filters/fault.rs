// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the fault filter.

use crate::decode::route_match::header_matcher;
use crate::decode::strings::percent;
use crate::decode::{Fault, Scope, fields, number};
use crate::{FaultAbort, FaultAbortKind, FaultDelay, FaultInjection, FaultRate, Fraction};
use gateway_xds_api::pb::envoy::extensions::filters::common::fault::v3::{
    self as common, fault_delay::FaultDelaySecifier, fault_rate_limit::LimitType,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::fault::v3::{self as pb, fault_abort::ErrorType};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::StatusCode;

const NONE: Fraction = Fraction { numerator: 0, denominator: 100 };

/// The listener's faults, or a route's.
pub(crate) fn faults(scope: &mut Scope, any: &Any) -> Result<FaultInjection, Fault> {
    let message: pb::HttpFault = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::HttpFault {
        use { delay, abort, response_rate_limit, headers, max_active_faults, upstream_cluster, downstream_nodes }
        warn { filter_metadata }
        quiet {
            delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime, max_active_faults_runtime,
            response_rate_limit_percent_runtime, abort_grpc_status_runtime, disable_downstream_cluster_stats,
        }
    });
    // Left out, either would widen the faults to requests that were not meant.
    if !upstream_cluster.is_empty() {
        return Err(scope.field_fault("upstream_cluster", "is not supported; set the faults at the route"));
    }
    if !downstream_nodes.is_empty() {
        return Err(scope.field_fault("downstream_nodes", "is not supported; use headers"));
    }
    Ok(FaultInjection {
        delay: delay.map(|delay| scope.at("delay", |scope| self::delay(scope, delay))).transpose()?,
        abort: abort.map(|abort| scope.at("abort", |scope| self::abort(scope, abort))).transpose()?,
        response_rate: response_rate_limit
            .map(|limit| scope.at("response_rate_limit", |scope| rate(scope, limit)))
            .transpose()?,
        headers: scope.each("headers", headers, header_matcher)?.into(),
        max_active: number(max_active_faults),
    })
}

fn delay(scope: &mut Scope, delay: common::FaultDelay) -> Result<FaultDelay, Fault> {
    let common::FaultDelay { percentage, fault_delay_secifier } = delay;
    let fixed = match scope.required("fault_delay_secifier", fault_delay_secifier)? {
        FaultDelaySecifier::FixedDelay(duration) => scope.duration("fixed_delay", Some(duration))?,
        FaultDelaySecifier::HeaderDelay(_) => None,
    };
    if fixed.is_some_and(|fixed| fixed.is_zero()) {
        return Err(scope.field_fault("fixed_delay", "must be above zero"));
    }
    Ok(FaultDelay { fixed, share: share(scope, percentage)? })
}

fn rate(scope: &mut Scope, limit: common::FaultRateLimit) -> Result<FaultRate, Fault> {
    let common::FaultRateLimit { percentage, limit_type } = limit;
    let fixed = match scope.required("limit_type", limit_type)? {
        LimitType::FixedLimit(fixed) if fixed.limit_kbps == 0 => {
            return Err(scope.field_fault("fixed_limit.limit_kbps", "must be above zero"));
        }
        LimitType::FixedLimit(fixed) => Some(fixed.limit_kbps),
        LimitType::HeaderLimit(_) => None,
    };
    Ok(FaultRate { fixed, share: share(scope, percentage)? })
}

fn abort(scope: &mut Scope, abort: pb::FaultAbort) -> Result<FaultAbort, Fault> {
    let pb::FaultAbort { percentage, error_type, response_body } = abort;
    let kind = match scope.required("error_type", error_type)? {
        ErrorType::HttpStatus(status) => {
            let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            FaultAbortKind::Http(
                status.ok_or_else(|| scope.field_fault("http_status", "must be from 200 to 599"))?,
            )
        }
        ErrorType::GrpcStatus(status) => FaultAbortKind::Grpc(status),
        ErrorType::HeaderAbort(_) => FaultAbortKind::Header,
    };
    Ok(FaultAbort { kind, share: share(scope, percentage)?, body: response_body.into() })
}

fn share(
    scope: &mut Scope,
    percentage: Option<gateway_xds_api::pb::envoy::r#type::v3::FractionalPercent>,
) -> Result<Fraction, Fault> {
    percentage.map_or(Ok(NONE), |share| scope.at("percentage", |scope| percent(scope, share)))
}
