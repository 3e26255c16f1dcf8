// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! From results of checks to a host's health, by thresholds.

use crate::host::CheckFlags;
use gateway_config::HealthCheck;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It answered as it should.
    Healthy {
        /// It said that it is degraded.
        degraded: bool,
    },
    /// It answered otherwise.
    Unhealthy {
        /// This counts towards the threshold; else the host is unhealthy at once.
        retriable: bool,
        /// It asked to be left alone at once.
        immediate: bool,
        /// For the log.
        why: String,
    },
    /// It did not answer.
    Unreachable(String),
}

/// What is counted between checks.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    checked: bool,
    good: u32,
    bad: u32,
}

impl Verdicts {
    /// The host's health after a check. The first check decides alone, so that a new host need not wait.
    pub(super) fn judge(&mut self, before: CheckFlags, result: &Checked, check: &HealthCheck) -> CheckFlags {
        let first = !std::mem::replace(&mut self.checked, true);
        let failed = before.has(CheckFlags::FAILED);
        match result {
            Checked::Healthy { degraded } => {
                self.bad = 0;
                self.good += 1;
                let degraded = if *degraded { CheckFlags::DEGRADED } else { CheckFlags::default() };
                match failed && !first && self.good < check.healthy_threshold {
                    true => before.without(CheckFlags::PENDING),
                    false => degraded,
                }
            }
            Checked::Unhealthy { .. } | Checked::Unreachable(_) => {
                self.good = 0;
                self.bad += 1;
                let at_once = matches!(result, Checked::Unhealthy { retriable: false, .. });
                let immediate = matches!(result, Checked::Unhealthy { immediate: true, .. });
                let before = before.without(CheckFlags::PENDING);
                let after = match failed || at_once || self.bad >= check.unhealthy_threshold {
                    true => before.with(CheckFlags::FAILED),
                    false => before,
                };
                if immediate { after.with(CheckFlags::EXCLUDED) } else { after }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Checked, Verdicts};
    use crate::host::CheckFlags;
    use gateway_config::{CheckIntervals, HealthCheck, HealthProbe};
    use std::time::Duration;

    fn check() -> HealthCheck {
        let second = Duration::from_secs(1);
        HealthCheck {
            timeout: second,
            times: CheckIntervals {
                healthy: second,
                unhealthy: second,
                healthy_edge: second,
                unhealthy_edge: second,
                no_traffic: second,
                no_traffic_healthy: second,
                initial_jitter: Duration::ZERO,
                jitter: Duration::ZERO,
                jitter_percent: 0,
            },
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            alt_port: None,
            reuse_connection: true,
            log_failures: false,
            log_successes: false,
            socket_metadata: None,
            probe: HealthProbe::Tcp { send: Default::default(), receive: Default::default() },
        }
    }

    #[test]
    fn thresholds_decide() {
        let good = || Checked::Healthy { degraded: false };
        let worse = || Checked::Healthy { degraded: true };
        let lost = || Checked::Unreachable(String::new());
        let bad = |immediate| Checked::Unhealthy { retriable: false, immediate, why: String::new() };
        let soft = || Checked::Unhealthy { retriable: true, immediate: false, why: String::new() };
        // Results with whether the host has failed after each.
        let tables: [&[(Checked, bool)]; 6] = [
            &[(good(), false), (lost(), false), (lost(), false), (lost(), true)],
            &[(lost(), true), (good(), true), (good(), false)],
            &[
                (good(), false),
                (bad(false), true),
                (good(), true),
                (lost(), true),
                (good(), true),
                (good(), false),
            ],
            &[(good(), false), (soft(), false), (soft(), false), (good(), false), (soft(), false)],
            &[(worse(), false), (good(), false)],
            &[(bad(true), true), (good(), true), (good(), false)],
        ];
        for table in tables {
            let mut verdicts = Verdicts::default();
            let mut flags = CheckFlags::FAILED.with(CheckFlags::PENDING);
            for (at, (result, failed)) in table.iter().enumerate() {
                flags = verdicts.judge(flags, result, &check());
                assert_eq!(flags.has(CheckFlags::FAILED), *failed, "step {at} of {table:?}");
                assert!(!flags.has(CheckFlags::PENDING));
                assert_eq!(
                    flags.has(CheckFlags::DEGRADED),
                    matches!(result, Checked::Healthy { degraded: true })
                );
            }
        }
        let excluded = Verdicts::default().judge(CheckFlags::default(), &bad(true), &check());
        assert!(excluded.has(CheckFlags::EXCLUDED));
    }
}
