// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Network filters in front of a connection's handling: access rules, limits of new and of open connections.

use crate::access_rules::{Facts, judge};
use crate::filters::bucket_time;
use crate::metrics::WorkerMetrics;
use gateway_config::{ConnectionSeat, NetworkGate, NetworkRbac, RbacAction};
use std::time::Duration;
use tokio::time::sleep;

/// What a connection holds while it is served.
#[derive(Debug, Default)]
pub(crate) struct Seats(Vec<ConnectionSeat>);

/// Lets a connection through, or says no once it may be closed.
pub(crate) async fn pass(
    gates: &[NetworkGate],
    facts: Facts<'_>,
    metrics: &WorkerMetrics,
) -> Result<Seats, ()> {
    let mut seats = Seats::default();
    for gate in gates {
        let wait = match gate {
            NetworkGate::Rbac(rules) => rbac(rules, facts, metrics).then_some(rules.delay),
            NetworkGate::RateLimit(rate) => {
                let full = !rate.bucket.take(bucket_time(), 1).allowed;
                if full {
                    let label = "envoy_local_network_ratelimit_prefix";
                    metrics.number("local_rate_limit_rate_limited", label, &rate.stat_prefix).increment();
                }
                full.then_some(Duration::ZERO)
            }
            NetworkGate::Limit(limit) => match limit.admit() {
                Some(seat) => {
                    seats.0.push(seat);
                    None
                }
                None => {
                    let label = "envoy_connection_limit_prefix";
                    metrics
                        .number("connection_limit_limited_connections", label, &limit.stat_prefix)
                        .increment();
                    Some(limit.delay)
                }
            },
        };
        if let Some(wait) = wait {
            drop(seats);
            if !wait.is_zero() {
                sleep(wait).await;
            }
            return Err(());
        }
    }
    Ok(seats)
}

/// Whether rules refuse a connection.
fn rbac(gate: &NetworkRbac, facts: Facts<'_>, metrics: &WorkerMetrics) -> bool {
    let count = |name| metrics.number(name, "envoy_rbac_prefix", &gate.stat_prefix).increment();
    if let Some(shadow) = &gate.rbac.shadow {
        let allowed = judge(shadow, facts).allowed;
        count(if allowed { "rbac_shadow_allowed" } else { "rbac_shadow_denied" });
    }
    let Some(rules) = gate.rbac.rules.as_ref().filter(|rules| rules.action != RbacAction::Log) else {
        return false;
    };
    let verdict = judge(rules, facts);
    count(if verdict.allowed { "rbac_allowed" } else { "rbac_denied" });
    if !verdict.allowed {
        tracing::debug!(
            connection = facts.connection.id,
            policy = verdict.policy.unwrap_or("none"),
            "connection refused by access rules"
        );
    }
    !verdict.allowed
}
