// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the filter that asks a rate limit service.

use super::ext_authz::version;
use crate::decode::headers::mutations;
use crate::decode::rate_limit::rules;
use crate::decode::services::grpc_service;
use crate::decode::strings::fraction;
use crate::decode::{Fault, Scope, fields};
use crate::filters::{HostRules, RateLimit, RateLimitRoute};
use crate::{Fraction, GrpcService};
use gateway_xds_api::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use gateway_xds_api::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use gateway_xds_api::pb::envoy::extensions::filters::http::ratelimit::v3 as pb;
use gateway_xds_api::pb::envoy::extensions::filters::http::ratelimit::v3::rate_limit_per_route::VhRateLimitsOptions;
use gateway_xds_api::pb::envoy::r#type::v3::HttpStatus;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::StatusCode;
use std::time::Duration;

/// Envoy's default limit of a call.
const TIMEOUT: Duration = Duration::from_millis(20);
const NAMESPACE: &str = "envoy.filters.http.ratelimit";

/// The filter's settings in its listener.
pub(crate) fn rate_limit(scope: &mut Scope, any: &Any) -> Result<RateLimit, Fault> {
    let message: pb::RateLimit = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::RateLimit {
        use {
            domain, stage, request_type, timeout, failure_mode_deny, rate_limited_as_resource_exhausted, rate_limit_service,
            enable_x_ratelimit_headers, disable_x_envoy_ratelimited_header, rate_limited_status, response_headers_to_add, status_on_error,
            filter_enabled, filter_enforced, failure_mode_deny_percent, rate_limits, metadata_namespace, enable_retry_after_header,
        }
        warn { }
        quiet { stat_prefix }
    });
    if domain.is_empty() {
        return Err(scope.field_fault("domain", "is empty"));
    }
    if stage > 10 {
        return Err(scope.field_fault("stage", "must be 10 or less"));
    }
    if !matches!(&*request_type, "" | "both") {
        return Err(scope.field_fault(
            "request_type",
            "must be both: this gateway does not tell internal requests apart",
        ));
    }
    let RateLimitServiceConfig { grpc_service: service, transport_api_version } =
        scope.required("rate_limit_service", rate_limit_service)?;
    version(scope, transport_api_version)?;
    let service = scope.required("rate_limit_service.grpc_service", service)?;
    let service = scope.at("rate_limit_service.grpc_service", |scope| grpc_service(scope, service))?;
    let limit = scope.duration("timeout", timeout)?.unwrap_or(TIMEOUT);
    let mut share = |field: &str, value: Option<RuntimeFractionalPercent>| {
        value.map(|value| scope.at(field, |scope| fraction(scope, value))).transpose()
    };
    let (enabled, enforced) =
        (share("filter_enabled", filter_enabled)?, share("filter_enforced", filter_enforced)?);
    let deny_share = share("failure_mode_deny_percent", failure_mode_deny_percent)?;
    let all = failure_mode_deny.then_some(Fraction { numerator: 100, denominator: 100 });
    Ok(RateLimit {
        domain: domain.into(),
        stage,
        service: GrpcService { timeout: Some(limit), ..service },
        failure_deny: deny_share.or(all),
        status_on_error: status(
            scope,
            "status_on_error",
            status_on_error,
            StatusCode::INTERNAL_SERVER_ERROR,
        )?,
        resource_exhausted: rate_limited_as_resource_exhausted,
        rate_limit_headers: enable_x_ratelimit_headers != 0,
        mark_refusals: !disable_x_envoy_ratelimited_header,
        status: status(scope, "rate_limited_status", rate_limited_status, StatusCode::TOO_MANY_REQUESTS)?,
        response_headers: mutations(scope, "response", response_headers_to_add, Vec::new())?,
        enabled,
        enforced,
        rules: rules(scope, rate_limits)?,
        metadata_namespace: if metadata_namespace.is_empty() {
            NAMESPACE.into()
        } else {
            metadata_namespace.into()
        },
        retry_after: enable_retry_after_header,
    })
}

/// As in Envoy: what is no error does not refuse.
fn status(
    scope: &Scope,
    field: &str,
    status: Option<HttpStatus>,
    default: StatusCode,
) -> Result<StatusCode, Fault> {
    match status {
        None => Ok(default),
        Some(status) if status.code < 400 => Ok(default),
        Some(status) => u16::try_from(status.code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or_else(|| scope.field_fault(field, "is not an HTTP status")),
    }
}

/// What a route says.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<RateLimitRoute, Fault> {
    let message: pb::RateLimitPerRoute = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::RateLimitPerRoute {
        use { vh_rate_limits, rate_limits, domain }
        warn { override_option }
        quiet { }
    });
    Ok(RateLimitRoute {
        host_rules: match VhRateLimitsOptions::try_from(vh_rate_limits) {
            Ok(VhRateLimitsOptions::Override) => HostRules::Override,
            Ok(VhRateLimitsOptions::Include) => HostRules::Include,
            Ok(VhRateLimitsOptions::Ignore) => HostRules::Ignore,
            Err(_) => return Err(scope.field_fault("vh_rate_limits", "is unknown")),
        },
        rules: rules(scope, rate_limits)?,
        domain: domain.into(),
    })
}
