// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes limits, outlier detection and health checks of clusters.

use crate::decode::{Fault, Scope, fields, number};
use crate::{CircuitBreakers, HealthCheck, HealthProbe, OutlierDetection};
use gateway_xds_api::pb::envoy::config::cluster::v3 as pb;
use gateway_xds_api::pb::envoy::config::core::v3::{self as core, health_check as check_pb};
use std::time::Duration;

/// The limits of the default priority.
pub(crate) fn breakers(scope: &mut Scope, breakers: pb::CircuitBreakers) -> CircuitBreakers {
    scope.at("circuit_breakers", |scope| {
        let pb::CircuitBreakers { thresholds, per_host_thresholds } = breakers;
        scope.unused("per_host_thresholds", &per_host_thresholds);
        let mut limits = CircuitBreakers::default();
        for (at, threshold) in thresholds.into_iter().enumerate() {
            scope.at(format_args!("thresholds[{at}]"), |scope| {
                if threshold.priority != 0 {
                    scope.warn("priority", "HIGH has no effect in this gateway");
                    return;
                }
                fields!(scope, threshold => pb::circuit_breakers::Thresholds {
                    use { max_connections, max_pending_requests, max_requests, max_retries }
                    warn { retry_budget, max_connection_pools }
                    quiet { priority, track_remaining }
                });
                limits = CircuitBreakers {
                    max_connections: number(max_connections).unwrap_or(limits.max_connections),
                    max_pending_requests: number(max_pending_requests).unwrap_or(limits.max_pending_requests),
                    max_requests: number(max_requests).unwrap_or(limits.max_requests),
                    max_retries: number(max_retries).unwrap_or(limits.max_retries),
                };
            });
        }
        limits
    })
}

/// Passive health.
pub(crate) fn outlier(scope: &mut Scope, outliers: pb::OutlierDetection) -> Result<OutlierDetection, Fault> {
    fields!(scope, outliers => pb::OutlierDetection {
        use {
            consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx, consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure, split_external_local_origin_errors, consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure, max_ejection_time,
        }
        warn { enforcing_failure_percentage, enforcing_failure_percentage_local_origin, max_ejection_time_jitter, monitors, detect_degraded_hosts }
        quiet {
            enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
            enforcing_local_origin_success_rate, failure_percentage_threshold, failure_percentage_minimum_hosts,
            failure_percentage_request_volume, successful_active_health_check_uneject_host, always_eject_one_host,
        }
    });
    let enforced = |share: Option<u32>, default: u32| share.unwrap_or(default) > 0;
    let base_ejection_time =
        scope.duration("base_ejection_time", base_ejection_time)?.unwrap_or(Duration::from_secs(30));
    let percent = number(max_ejection_percent).unwrap_or(10);
    Ok(OutlierDetection {
        consecutive_5xx: enforced(number(enforcing_consecutive_5xx), 100)
            .then(|| number(consecutive_5xx).unwrap_or(5)),
        consecutive_gateway_failure: enforced(number(enforcing_consecutive_gateway_failure), 0)
            .then(|| number(consecutive_gateway_failure).unwrap_or(5)),
        split_local_origin: split_external_local_origin_errors,
        consecutive_local_origin_failure: (split_external_local_origin_errors
            && enforced(number(enforcing_consecutive_local_origin_failure), 100))
        .then(|| number(consecutive_local_origin_failure).unwrap_or(5)),
        interval: scope.duration("interval", interval)?.unwrap_or(Duration::from_secs(10)),
        base_ejection_time,
        max_ejection_time: scope
            .duration("max_ejection_time", max_ejection_time)?
            .unwrap_or(Duration::from_mins(5))
            .max(base_ejection_time),
        max_ejection_percent: u8::try_from(percent.min(100)).unwrap_or(100),
    })
}

/// An active health check.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn health_check(scope: &mut Scope, check: core::HealthCheck) -> Result<HealthCheck, Fault> {
    fields!(scope, check => core::HealthCheck {
        use { timeout, interval, unhealthy_threshold, healthy_threshold, health_checker }
        warn { alt_port, tls_options, transport_socket_match_criteria }
        quiet {
            initial_jitter, interval_jitter, interval_jitter_percent, reuse_connection, no_traffic_interval, no_traffic_healthy_interval,
            unhealthy_interval, unhealthy_edge_interval, healthy_edge_interval, event_log_path, event_logger, event_service,
            always_log_health_check_failures, always_log_health_check_success,
        }
    });
    let timeout = scope.duration("timeout", timeout)?;
    let interval = scope.duration("interval", interval)?;
    Ok(HealthCheck {
        timeout: scope.required("timeout", timeout)?,
        interval: scope.required("interval", interval)?,
        unhealthy_threshold: number(unhealthy_threshold).unwrap_or(2).max(1),
        healthy_threshold: number(healthy_threshold).unwrap_or(1).max(1),
        probe: probe(scope, health_checker)?,
    })
}

fn probe(scope: &mut Scope, checker: Option<check_pb::HealthChecker>) -> Result<HealthProbe, Fault> {
    Ok(match scope.required("health_checker", checker)? {
        check_pb::HealthChecker::HttpHealthCheck(http) => {
            let range = |scope: &mut Scope, range: gateway_xds_api::pb::envoy::r#type::v3::Int64Range| {
                let (start, end) = (u16::try_from(range.start), u16::try_from(range.end));
                start
                    .ok()
                    .zip(end.ok())
                    .map(|(start, end)| start..end)
                    .ok_or_else(|| scope.fault("is not a range of status codes"))
            };
            HealthProbe::Http {
                path: http.path.into(),
                host: Some(http.host).filter(|host| !host.is_empty()).map(Into::into),
                expected: scope
                    .each("http_health_check.expected_statuses", http.expected_statuses, range)?
                    .into(),
            }
        }
        check_pb::HealthChecker::TcpHealthCheck(tcp) => {
            scope.unused("tcp_health_check.send", &tcp.send);
            scope.unused("tcp_health_check.receive", &tcp.receive);
            HealthProbe::Tcp
        }
        check_pb::HealthChecker::GrpcHealthCheck(grpc) => {
            HealthProbe::Grpc { service: grpc.service_name.into() }
        }
        check_pb::HealthChecker::CustomHealthCheck(_) => {
            return Err(scope.field_fault("custom_health_check", "is not supported"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::breakers;
    use crate::decode::Scope;

    #[test]
    fn absent_limits_are_envoys_defaults() {
        let limits = breakers(&mut Scope::default(), Default::default());
        assert_eq!(
            (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries),
            (1024, 1024, 1024, 3)
        );
    }
}
