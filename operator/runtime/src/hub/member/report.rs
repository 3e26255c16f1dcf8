// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a worker tells of its member. Pure.

use crate::relay::{GatewayReport, NACK_LIMIT, RelayReport};
use crds::{Drift, FleetMember, Nack};
use jiff::{SignedDuration, Timestamp};
use multicluster_apply::{Applied, Desired, Observed};
use operator_ir::GatewayId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An entry of a relay that was not renewed for this long is of a relay that is gone.
const RELAY_LIFE: SignedDuration = SignedDuration::from_secs(90);

/// Everything known of a member, as last seen. A report replaces the one before.
#[derive(Clone, Debug, Default)]
pub(in crate::hub) struct MemberReport {
    /// What became of the workloads.
    pub(in crate::hub) applied: Option<AppliedReport>,
    /// Name of the revision whose pin is in the cluster.
    pub(in crate::hub) pinned: Option<String>,
    /// What runs.
    pub(in crate::hub) observed: Option<Observed>,
    /// What each relay says of its gateways.
    pub(in crate::hub) config: Vec<ConfigReport>,
    /// What stands in the way as a whole.
    pub(in crate::hub) problem: Option<String>,
    /// Another hub or a newer leader owns the member.
    pub(in crate::hub) fenced: bool,
    /// Everything was removed.
    pub(in crate::hub) removed: bool,
}

/// What became of the workloads.
#[derive(Clone, Debug)]
pub(in crate::hub) struct AppliedReport {
    /// Of what.
    pub(in crate::hub) desired: Arc<Desired>,
    /// Conflicts and failures.
    pub(in crate::hub) problems: Vec<String>,
    /// Another owner stands in the way.
    pub(in crate::hub) conflict: bool,
    /// Fields that someone else changed and that stay so.
    pub(in crate::hub) drift: Vec<Drift>,
    /// Objects that were set back just now.
    pub(in crate::hub) corrected: Vec<String>,
}

impl AppliedReport {
    pub(in crate::hub) fn new(desired: Arc<Desired>, applied: &Applied) -> Self {
        Self {
            desired,
            problems: applied.problems().into_iter().map(str::to_owned).collect(),
            conflict: applied.has_conflict(),
            drift: applied.drift(),
            corrected: applied.corrected().into_iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a relay says of its gateways.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::hub) struct ConfigReport {
    /// Hash of the configuration that it is about.
    pub(in crate::hub) hash: String,
    /// All gateways together.
    pub(in crate::hub) counts: GatewayCounts,
    /// What they rejected.
    pub(in crate::hub) nacks: Vec<Nack>,
    /// By gateway, where the relay tells.
    pub(in crate::hub) gateways: BTreeMap<GatewayId, GatewayCounts>,
    /// Services that routes name and the cluster lacks.
    pub(in crate::hub) absent_backends: BTreeSet<String>,
}

/// Proxies by what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct GatewayCounts {
    /// On the line.
    pub(in crate::hub) connected: usize,
    /// Serving what they are asked to.
    pub(in crate::hub) acked: usize,
    /// Rejecting it.
    pub(in crate::hub) nacked: usize,
}

impl MemberReport {
    /// Takes what a relay of this process says.
    pub(in crate::hub) fn take_relay(&mut self, report: &RelayReport) {
        let counts_of = |gateway: &GatewayReport| GatewayCounts {
            connected: gateway.connected,
            acked: gateway.acked,
            nacked: gateway.nacked(),
        };
        self.config = vec![ConfigReport {
            hash: report.hash.clone(),
            counts: GatewayCounts {
                connected: report.connected(),
                acked: report.acked(),
                nacked: report.nacked(),
            },
            nacks: report.nacks(),
            gateways: report.gateways.iter().map(|(id, gateway)| (id.clone(), counts_of(gateway))).collect(),
            absent_backends: report.absent_backends(),
        }];
    }

    /// Takes what remote relays wrote into the member's status.
    pub(in crate::hub) fn take_member(&mut self, member: Option<&FleetMember>, now: Timestamp) {
        let Some(status) = member.and_then(|member| member.status.as_ref()) else { return };
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        let alive = status.relays.iter().filter(|relay| now.duration_since(relay.time.0) < RELAY_LIFE);
        self.config = alive
            .map(|relay| ConfigReport {
                hash: relay.config_hash.clone(),
                counts: GatewayCounts {
                    connected: count(relay.connected),
                    acked: count(relay.acked),
                    nacked: count(relay.nacked),
                },
                nacks: relay.nacks.iter().take(NACK_LIMIT).cloned().collect(),
                gateways: BTreeMap::new(),
                absent_backends: relay.absent_backends.iter().cloned().collect(),
            })
            .collect();
    }

    /// What all relays together say of a configuration; none where no relay speaks of it.
    pub(in crate::hub) fn config_of(&self, hash: &str) -> Option<ConfigReport> {
        let mut about = self.config.iter().filter(|config| !hash.is_empty() && config.hash == hash);
        let mut sum = about.next()?.clone();
        for config in about {
            sum.counts.connected += config.counts.connected;
            sum.counts.acked += config.counts.acked;
            sum.counts.nacked += config.counts.nacked;
            sum.nacks.extend(config.nacks.iter().cloned());
            sum.absent_backends.extend(config.absent_backends.iter().cloned());
        }
        sum.nacks.truncate(NACK_LIMIT);
        Some(sum)
    }
}
