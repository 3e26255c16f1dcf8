// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes retry policies.

use crate::decode::route_match::header_matcher;
use crate::decode::{Fault, Scope, fields, number};
use crate::{RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy};
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::pb::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeaderFormat, RetryHostPredicate,
};
use http::{HeaderName, StatusCode};
use std::time::Duration;

/// Envoy's default for the longest wait that an answer may ask for.
const RESET_MAX: Duration = Duration::from_secs(300);

/// A retry policy.
pub(crate) fn retry_policy(scope: &mut Scope, policy: pb::RetryPolicy) -> Result<RetryPolicy, Fault> {
    fields!(scope, policy => pb::RetryPolicy {
        use {
            retry_on, num_retries, per_try_timeout, retry_host_predicate, host_selection_retry_max_attempts, retriable_status_codes, retry_back_off,
            per_try_idle_timeout, rate_limited_retry_back_off, retriable_headers, retriable_request_headers, retry_options_predicates,
        }
        warn { retry_priority, refresh_cluster_on_retry }
        quiet { }
    });
    if !retry_options_predicates.is_empty() {
        return Err(scope.field_fault("retry_options_predicates", "is not supported"));
    }
    let mut on = RetryOn::default();
    for word in retry_on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match RetryOn::from_word(word).or_else(|| RetryOn::from_grpc_word(word)) {
            Some(RetryOn::HTTP3) => scope.warn("retry_on", format_args!("{word:?}: there is no HTTP/3 here")),
            Some(reason) => on = on.union(reason),
            None => scope.warn("retry_on", format_args!("{word:?} has no effect in this gateway")),
        }
    }
    let status_codes = scope.each("retriable_status_codes", retriable_status_codes, |scope, code| {
        let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        code.ok_or_else(|| scope.fault("is not a status code"))
    })?;
    let (base, max) = match retry_back_off {
        None => (None, None),
        Some(pb::retry_policy::RetryBackOff { base_interval, max_interval }) => {
            scope.at("retry_back_off", |scope| {
                Ok((
                    scope.duration("base_interval", base_interval)?,
                    scope.duration("max_interval", max_interval)?,
                ))
            })?
        }
    };
    let defaults = RetryPolicy::default();
    let backoff_base = base.filter(|base| !base.is_zero()).unwrap_or(defaults.backoff_base);
    Ok(RetryPolicy {
        on,
        attempts: number(num_retries).unwrap_or(1),
        per_try_timeout: scope.limit("per_try_timeout", per_try_timeout, None)?,
        per_try_idle_timeout: scope.limit("per_try_idle_timeout", per_try_idle_timeout, None)?,
        status_codes: status_codes.into(),
        headers: scope.each("retriable_headers", retriable_headers, header_matcher)?.into(),
        request_headers: scope
            .each("retriable_request_headers", retriable_request_headers, header_matcher)?
            .into(),
        avoid_previous_hosts: previous_hosts(scope, retry_host_predicate),
        host_selection_attempts: u32::try_from(host_selection_retry_max_attempts).unwrap_or(0).clamp(1, 64),
        backoff_base,
        backoff_max: max.unwrap_or(backoff_base.saturating_mul(10)).max(backoff_base),
        rate_limited: rate_limited_retry_back_off
            .map(|back_off| scope.at("rate_limited_retry_back_off", |scope| rate_limited(scope, back_off)))
            .transpose()?,
    })
}

fn previous_hosts(scope: &mut Scope, predicates: Vec<RetryHostPredicate>) -> bool {
    let mut avoid = false;
    for predicate in predicates {
        if predicate.name == "envoy.retry_host_predicates.previous_hosts" {
            avoid = true;
        } else {
            scope.warn(
                "retry_host_predicate",
                format_args!("{:?} has no effect in this gateway", predicate.name),
            );
        }
    }
    avoid
}

fn rate_limited(scope: &mut Scope, back_off: RateLimitedRetryBackOff) -> Result<RateLimitedBackOff, Fault> {
    let RateLimitedRetryBackOff { reset_headers, max_interval } = back_off;
    let headers = scope.each("reset_headers", reset_headers, |scope, header| {
        let name = HeaderName::try_from(header.name.as_str())
            .map_err(|_| scope.field_fault("name", "is not a header name"))?;
        let timestamp = match ResetHeaderFormat::try_from(header.format) {
            Ok(ResetHeaderFormat::Seconds) => false,
            Ok(ResetHeaderFormat::UnixTimestamp) => true,
            Err(_) => return Err(scope.field_fault("format", "is unknown")),
        };
        Ok(ResetHeader { name, timestamp })
    })?;
    if headers.is_empty() {
        return Err(scope.field_fault("reset_headers", "is empty"));
    }
    let max = scope.duration("max_interval", max_interval)?.filter(|max| !max.is_zero()).unwrap_or(RESET_MAX);
    Ok(RateLimitedBackOff { headers: headers.into(), max })
}
