// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes limits and outlier detection of clusters.

use crate::decode::{Fault, Scope, fields, number, truth};
use crate::{
    CircuitBreakers, ClusterLimits, FailurePercentage, OutlierDetection, RateDetection, RetryBudget,
    RoutingPriority, SuccessRate,
};
use gateway_xds_api::pb::envoy::config::cluster::v3 as pb;
use gateway_xds_api::pb::envoy::config::core::v3::RoutingPriority as PbPriority;
use std::time::Duration;

/// The limits of both priorities, and those of single hosts.
pub(crate) fn limits(scope: &mut Scope, breakers: pb::CircuitBreakers) -> Result<ClusterLimits, Fault> {
    scope.at("circuit_breakers", |scope| {
        let pb::CircuitBreakers { thresholds, per_host_thresholds } = breakers;
        let mut limits = ClusterLimits::default();
        let mut seen = [false; 2];
        scope.each("thresholds", thresholds, |scope, threshold| {
            let (limits, seen) = match routing_priority(scope, threshold.priority)? {
                RoutingPriority::Default => (&mut limits.default, &mut seen[0]),
                RoutingPriority::High => (&mut limits.high, &mut seen[1]),
            };
            // As in Envoy, the first entry of a priority counts.
            match std::mem::replace(seen, true) {
                true => scope.warn("priority", "is there twice; the first one counts"),
                false => *limits = breakers_of(scope, threshold),
            }
            Ok(())
        })?;
        scope.each("per_host_thresholds", per_host_thresholds, |scope, threshold| {
            let priority = routing_priority(scope, threshold.priority)?;
            fields!(scope, threshold => pb::circuit_breakers::Thresholds {
                use { max_connections }
                warn { max_pending_requests, max_requests, max_retries, retry_budget, max_connection_pools }
                quiet { priority, track_remaining }
            });
            if priority == RoutingPriority::High {
                scope.warn("priority", "HIGH has no effect here: connections to a host are counted together");
            } else {
                limits.host_connections = limits.host_connections.or(number(max_connections));
            }
            Ok(())
        })?;
        Ok(limits)
    })
}

/// A priority of routes and limits.
pub(crate) fn routing_priority(scope: &Scope, value: i32) -> Result<RoutingPriority, Fault> {
    match PbPriority::try_from(value) {
        Ok(PbPriority::Default) => Ok(RoutingPriority::Default),
        Ok(PbPriority::High) => Ok(RoutingPriority::High),
        Err(_) => Err(scope.field_fault("priority", "is unknown")),
    }
}

fn breakers_of(scope: &mut Scope, threshold: pb::circuit_breakers::Thresholds) -> CircuitBreakers {
    fields!(scope, threshold => pb::circuit_breakers::Thresholds {
        use { max_connections, max_pending_requests, max_requests, max_retries, retry_budget }
        warn { max_connection_pools }
        quiet { priority, track_remaining }
    });
    let limits = CircuitBreakers::default();
    CircuitBreakers {
        max_connections: number(max_connections).unwrap_or(limits.max_connections),
        max_pending_requests: number(max_pending_requests).unwrap_or(limits.max_pending_requests),
        max_requests: number(max_requests).unwrap_or(limits.max_requests),
        max_retries: number(max_retries).unwrap_or(limits.max_retries),
        retry_budget: retry_budget.map(|budget| retry_budget_of(scope, budget)),
    }
}

fn retry_budget_of(scope: &mut Scope, budget: pb::circuit_breakers::thresholds::RetryBudget) -> RetryBudget {
    fields!(scope, budget => pb::circuit_breakers::thresholds::RetryBudget {
        use { budget_percent, min_retry_concurrency }
        warn { budget_interval }
        quiet { }
    });
    let percent = budget_percent.map_or(20.0, |percent| percent.value);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "brought to 0 to 10,000 before"
    )]
    let hundredths = (percent * 100.0).clamp(0.0, 10_000.0) as u32;
    RetryBudget { hundredths, min_concurrency: number(min_retry_concurrency).unwrap_or(3) }
}

/// Passive health.
pub(crate) fn outlier(scope: &mut Scope, outliers: pb::OutlierDetection) -> Result<OutlierDetection, Fault> {
    fields!(scope, outliers => pb::OutlierDetection {
        use {
            consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx, consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure, split_external_local_origin_errors, consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure, max_ejection_time, enforcing_failure_percentage, max_ejection_time_jitter,
            enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
            failure_percentage_threshold, failure_percentage_minimum_hosts, failure_percentage_request_volume,
            successful_active_health_check_uneject_host, always_eject_one_host,
        }
        warn { enforcing_failure_percentage_local_origin, enforcing_local_origin_success_rate, monitors, detect_degraded_hosts }
        quiet { }
    });
    let percent = |value: Option<u32>, default: u32| -> u8 {
        u8::try_from(value.unwrap_or(default).min(100)).unwrap_or(100)
    };
    let rates = RateDetection {
        success_rate: Some(SuccessRate {
            enforcing: percent(number(enforcing_success_rate), 100),
            minimum_hosts: number(success_rate_minimum_hosts).unwrap_or(5),
            request_volume: number(success_rate_request_volume).unwrap_or(100),
            stdev_factor: number(success_rate_stdev_factor).unwrap_or(1900),
        })
        .filter(|rule| rule.enforcing > 0),
        failure_percentage: Some(FailurePercentage {
            enforcing: percent(number(enforcing_failure_percentage), 0),
            threshold: percent(number(failure_percentage_threshold), 85),
            minimum_hosts: number(failure_percentage_minimum_hosts).unwrap_or(5),
            request_volume: number(failure_percentage_request_volume).unwrap_or(50),
        })
        .filter(|rule| rule.enforcing > 0),
    };
    let enforcing = [
        percent(number(enforcing_consecutive_5xx), 100),
        percent(number(enforcing_consecutive_gateway_failure), 0),
        percent(number(enforcing_consecutive_local_origin_failure), 100),
    ];
    let base_ejection_time =
        scope.duration("base_ejection_time", base_ejection_time)?.unwrap_or(Duration::from_secs(30));
    Ok(OutlierDetection {
        consecutive_5xx: (enforcing[0] > 0).then(|| number(consecutive_5xx).unwrap_or(5)),
        consecutive_gateway_failure: (enforcing[1] > 0)
            .then(|| number(consecutive_gateway_failure).unwrap_or(5)),
        split_local_origin: split_external_local_origin_errors,
        consecutive_local_origin_failure: (split_external_local_origin_errors && enforcing[2] > 0)
            .then(|| number(consecutive_local_origin_failure).unwrap_or(5)),
        interval: scope.duration("interval", interval)?.unwrap_or(Duration::from_secs(10)),
        base_ejection_time,
        max_ejection_time: scope
            .duration("max_ejection_time", max_ejection_time)?
            .unwrap_or(Duration::from_mins(5))
            .max(base_ejection_time),
        max_ejection_percent: percent(number(max_ejection_percent), 10),
        always_eject_one: truth(always_eject_one_host, false),
        ejection_jitter: scope
            .duration("max_ejection_time_jitter", max_ejection_time_jitter)?
            .unwrap_or_default(),
        enforcing,
        uneject_after_check: truth(successful_active_health_check_uneject_host, true),
        rates,
    })
}

#[cfg(test)]
mod tests {
    use super::{limits, pb};
    use crate::RoutingPriority;
    use crate::decode::Scope;
    use gateway_xds_api::pb::google::protobuf::UInt32Value;

    #[test]
    fn absent_limits_are_envoys_defaults() {
        let limits = limits(&mut Scope::default(), Default::default()).unwrap();
        for priority in [RoutingPriority::Default, RoutingPriority::High] {
            let limits = limits.of(priority);
            assert_eq!(
                (
                    limits.max_connections,
                    limits.max_pending_requests,
                    limits.max_requests,
                    limits.max_retries
                ),
                (1024, 1024, 1024, 3)
            );
        }
        assert_eq!(limits.host_connections, None);
    }

    #[test]
    fn priorities_have_their_own_limits() {
        let threshold = |priority, connections| pb::circuit_breakers::Thresholds {
            priority,
            max_connections: Some(UInt32Value { value: connections }),
            ..Default::default()
        };
        let mut scope = Scope::default();
        let breakers = pb::CircuitBreakers {
            thresholds: vec![threshold(1, 7), threshold(0, 5), threshold(0, 9)],
            per_host_thresholds: vec![threshold(0, 2)],
        };
        let found = limits(&mut scope, breakers).unwrap();
        assert_eq!((found.default.max_connections, found.high.max_connections), (5, 7));
        assert_eq!(found.host_connections, Some(2));
        assert_eq!(scope.warnings.len(), 1, "{:?}", scope.warnings);
        let unknown = pb::CircuitBreakers { thresholds: vec![threshold(9, 1)], ..Default::default() };
        assert!(limits(&mut scope, unknown).is_err());
    }
}
