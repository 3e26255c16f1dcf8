// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes retry policies.

use crate::decode::{Fault, Scope, fields, number};
use crate::{RetryOn, RetryPolicy};
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use http::StatusCode;
use std::time::Duration;

/// Envoy's default for the first wait.
const BACKOFF_BASE: Duration = Duration::from_millis(25);

/// A retry policy.
pub(crate) fn retry_policy(scope: &mut Scope, policy: pb::RetryPolicy) -> Result<RetryPolicy, Fault> {
    fields!(scope, policy => pb::RetryPolicy {
        use {
            retry_on, num_retries, per_try_timeout, retry_host_predicate, host_selection_retry_max_attempts, retriable_status_codes, retry_back_off,
        }
        warn {
            per_try_idle_timeout, retry_priority, retry_options_predicates, rate_limited_retry_back_off, retriable_headers,
            retriable_request_headers, refresh_cluster_on_retry,
        }
        quiet { }
    });
    let mut on = RetryOn::default();
    for word in retry_on.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match RetryOn::from_word(word) {
            Some(reason) => on = on.union(reason),
            None => scope.warn("retry_on", format_args!("{word:?} has no effect in this gateway")),
        }
    }
    let status_codes = scope.each("retriable_status_codes", retriable_status_codes, |scope, code| {
        let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        code.ok_or_else(|| scope.fault("is not a status code"))
    })?;
    let mut avoid_previous_hosts = false;
    for predicate in retry_host_predicate {
        if predicate.name == "envoy.retry_host_predicates.previous_hosts" {
            avoid_previous_hosts = true;
        } else {
            scope.warn(
                "retry_host_predicate",
                format_args!("{:?} has no effect in this gateway", predicate.name),
            );
        }
    }
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
    let backoff_base = base.filter(|base| !base.is_zero()).unwrap_or(BACKOFF_BASE);
    Ok(RetryPolicy {
        on,
        attempts: number(num_retries).unwrap_or(1),
        per_try_timeout: scope.limit("per_try_timeout", per_try_timeout, None)?,
        status_codes: status_codes.into(),
        avoid_previous_hosts,
        host_selection_attempts: u32::try_from(host_selection_retry_max_attempts).unwrap_or(0).clamp(1, 64),
        backoff_base,
        backoff_max: max.unwrap_or(backoff_base.saturating_mul(10)).max(backoff_base),
    })
}
