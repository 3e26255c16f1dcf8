// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The status of a GatewayFleet: bounded, a summary. Pure.

use crate::hub::time;
use crds::conditions::{self, ConditionType, Reason, Statement};
use crds::gateway_fleet::{
    AttentionItem, ClusterCounts, Display, GatewayCounts, Quarantined, RolloutPause, RolloutPhase,
    RolloutStatus,
};
use crds::{FleetMemberStatus, GatewayFleet, GatewayFleetStatus, MemberPhase, pending_fields};
use jiff::Timestamp;
use multicluster_rollout::Plan;
use std::collections::BTreeMap;

/// Most clusters that are listed for attention.
const ATTENTION_LIMIT: usize = 20;

/// Everything that a fleet's status is made of.
#[derive(Debug)]
pub(in crate::hub) struct FleetView<'a> {
    /// By cluster.
    pub(in crate::hub) members: &'a BTreeMap<String, FleetMemberStatus>,
    pub(in crate::hub) plan: &'a Plan,
    pub(in crate::hub) active: Option<String>,
    pub(in crate::hub) quarantined: &'a [Quarantined],
    pub(in crate::hub) orphaned: usize,
    /// What is wrong with the spec or what it names; the other clusters go on.
    pub(in crate::hub) problems: &'a [(Reason, String)],
    /// Whose merged template is not valid.
    pub(in crate::hub) overrides: Option<&'a str>,
}

/// The status of a GatewayFleet.
pub(in crate::hub) fn fleet_status(
    fleet: &GatewayFleet,
    view: &FleetView<'_>,
    now: Timestamp,
) -> GatewayFleetStatus {
    let before = fleet.status.clone().unwrap_or_default();
    let generation = fleet.metadata.generation.unwrap_or_default();
    let gateways = gateway_counts(view);
    let clusters = cluster_counts(view);
    let mut status = GatewayFleetStatus {
        observed_generation: generation,
        desired_revision: view.plan.target.clone(),
        active_revision: view.active.clone().or(before.active_revision),
        quarantined: view.quarantined.to_vec(),
        display: Some(Display {
            updated: format!("{}/{}", clusters.updated, clusters.selected),
            acked: format!("{}/{}", gateways.acked, gateways.desired),
        }),
        clusters: Some(clusters),
        gateways: Some(gateways),
        rollout: Some(rollout_status(view, before.rollout.as_ref(), now)),
        attention: attention(view),
        conditions: before.conditions,
    };
    for statement in statements(fleet, view, &clusters) {
        conditions::set(&mut status.conditions, statement, generation, &time(now));
    }
    progress(&mut status, view, generation, now);
    status
}

fn serves(member: &FleetMemberStatus) -> bool {
    member.replicas.is_some_and(|replicas| replicas.ready > 0)
        && member.config.as_ref().is_some_and(|c| c.acked > 0)
}

fn is_unreachable(member: &FleetMemberStatus) -> bool {
    conditions::find(&member.conditions, ConditionType::Reachable).is_some_and(|c| c.status == "False")
}

fn cluster_counts(view: &FleetView<'_>) -> ClusterCounts {
    let count = |test: &dyn Fn(&FleetMemberStatus) -> bool| {
        i32::try_from(view.members.values().filter(|member| test(member)).count()).unwrap_or(i32::MAX)
    };
    ClusterCounts {
        selected: count(&|_| true),
        ready: count(&|member| conditions::holds(&member.conditions, ConditionType::Ready)),
        updated: count(&|member| view.plan.target.is_some() && member.passed_revision == view.plan.target),
        failed: count(&|member| member.phase == Some(MemberPhase::Failed)),
        unreachable: count(&is_unreachable),
        orphaned: i32::try_from(view.orphaned).unwrap_or(i32::MAX),
    }
}

fn gateway_counts(view: &FleetView<'_>) -> GatewayCounts {
    let mut counts = GatewayCounts::default();
    for member in view.members.values() {
        let replicas = member.replicas.unwrap_or_default();
        counts.desired += replicas.desired;
        if is_unreachable(member) {
            counts.unknown += replicas.desired;
            continue;
        }
        counts.ready += replicas.ready;
        let config = member.config.clone().unwrap_or_default();
        counts.acked += config.acked.min(replicas.desired.max(config.connected));
        counts.nacked += config.nacked;
    }
    counts
}

fn rollout_status(view: &FleetView<'_>, before: Option<&RolloutStatus>, now: Timestamp) -> RolloutStatus {
    let pauses = view.plan.pause.iter().map(|reason| {
        let old = before.and_then(|b| b.pauses.iter().find(|pause| pause.reason == *reason));
        let since = old.map_or_else(|| time(now), |pause| pause.since.clone());
        RolloutPause { reason: reason.clone(), since }
    });
    RolloutStatus {
        phase: view.plan.phase,
        wave: view.plan.wave.clone(),
        waves: view.plan.waves.clone(),
        pauses: pauses.collect(),
        message: (!view.plan.message.is_empty()).then(|| view.plan.message.clone()),
    }
}

fn attention(view: &FleetView<'_>) -> Vec<AttentionItem> {
    let bad = view.members.iter().filter_map(|(cluster, member)| {
        let ready = conditions::find(&member.conditions, ConditionType::Ready)?;
        (ready.status != "True").then(|| AttentionItem {
            cluster: cluster.clone(),
            reason: ready.reason.clone(),
            since: Some(ready.last_transition_time.clone()),
        })
    });
    bad.take(ATTENTION_LIMIT).collect()
}

fn statements(fleet: &GatewayFleet, view: &FleetView<'_>, clusters: &ClusterCounts) -> Vec<Statement> {
    let reachable: Vec<_> = view.members.iter().filter(|(_, member)| !is_unreachable(member)).collect();
    let silent: Vec<&str> =
        reachable.iter().filter(|(_, member)| !serves(member)).map(|(cluster, _)| cluster.as_str()).collect();
    let available = if reachable.is_empty() {
        Statement::new(
            ConditionType::Available,
            false,
            Reason::NoClusters,
            "no selected cluster is reachable",
        )
    } else if silent.is_empty() {
        let text = "every reachable cluster serves a good revision";
        Statement::new(ConditionType::Available, true, Reason::Serving, text)
    } else {
        let text = format!("no gateway serves in: {}; see their FleetMembers", silent.join(", "));
        Statement::new(ConditionType::Available, false, Reason::NotServing, text)
    };
    let mut statements = vec![available, ready(fleet, view, clusters)];
    let pending = pending_fields(&fleet.spec);
    if !pending.is_empty() {
        let text = format!("without effect in this version: {}", pending.join(", "));
        statements.push(Statement::new(
            ConditionType::FieldsNotHonoured,
            true,
            Reason::NotYetImplemented,
            text,
        ));
    }
    if let Some(problem) = view.overrides {
        statements.push(Statement::new(
            ConditionType::OverridesValid,
            false,
            Reason::OverrideInvalid,
            problem,
        ));
    }
    statements
}

fn ready(fleet: &GatewayFleet, view: &FleetView<'_>, clusters: &ClusterCounts) -> Statement {
    let kind = ConditionType::Ready;
    if let Some((reason, message)) = view.problems.first() {
        return Statement::new(kind, false, *reason, message.clone());
    }
    if view.members.is_empty() {
        let text = "spec.clusters selects no FleetCluster; create one, or change the selector or names";
        return Statement::new(kind, false, Reason::NoClusters, text);
    }
    if view.plan.complete && !view.plan.within_unreachable_budget {
        let text = format!(
            "{} clusters do not answer, more than spec.rollout.unreachable.max allows",
            clusters.unreachable
        );
        return Statement::new(kind, false, Reason::Unreachable, text);
    }
    if view.plan.complete {
        // A rollout is complete once; a cluster that fails later still makes the fleet not ready.
        let unreachable = clusters.unreachable > 0;
        let bad = view.members.iter().find(|(_, member)| {
            !is_unreachable(member) && !conditions::holds(&member.conditions, ConditionType::Ready)
        });
        if let Some((cluster, member)) = bad {
            let ready = conditions::find(&member.conditions, ConditionType::Ready);
            let text = format!("{cluster}: {}", ready.map(|c| c.message.as_str()).unwrap_or_default());
            return Statement::new(kind, false, Reason::NotServing, text);
        }
        let reason = if unreachable { Reason::RolledOutExceptUnreachable } else { Reason::RolledOut };
        return Statement::new(
            kind,
            true,
            reason,
            format!("{} of {} clusters", clusters.updated, clusters.selected),
        );
    }
    let reason = match view.plan.phase {
        RolloutPhase::Paused if fleet.spec.rollout.paused => Reason::Paused,
        RolloutPhase::Paused => Reason::RolloutFailed,
        RolloutPhase::AwaitingApproval => Reason::AwaitingApproval,
        RolloutPhase::RollingBack | RolloutPhase::RolledBack => Reason::RolledBack,
        _ => Reason::Progressing,
    };
    Statement::new(kind, false, reason, first_trouble(view).unwrap_or_else(|| view.plan.message.clone()))
}

/// What a member says that is not ready for a reason of its own: more telling than "progressing".
fn first_trouble(view: &FleetView<'_>) -> Option<String> {
    const PLAIN: [&str; 4] = ["Pending", "AwaitingAck", "Unreachable", "NoGateways"];
    let member = view.members.iter().find_map(|(cluster, member)| {
        let ready = conditions::find(&member.conditions, ConditionType::Ready)?;
        (ready.status == "False" && !PLAIN.contains(&ready.reason.as_str())).then_some((cluster, ready))
    });
    member.map(|(cluster, ready)| format!("{cluster}: {}", ready.message))
}

/// Reconciling and Stalled are there only when True, and never both.
fn progress(status: &mut GatewayFleetStatus, view: &FleetView<'_>, generation: i64, now: Timestamp) {
    let stalled = match (view.problems.first(), view.plan.phase) {
        (Some((reason, message)), _) => Some((*reason, message.clone())),
        (None, RolloutPhase::RolledBack) => Some((Reason::RolledBack, view.plan.message.clone())),
        (None, RolloutPhase::Paused) if view.plan.pause.is_some() => {
            Some((Reason::RolloutFailed, view.plan.message.clone()))
        }
        _ => None,
    };
    let all = &mut status.conditions;
    let busy = !view.plan.complete;
    if let Some((reason, message)) = stalled {
        conditions::remove(all, ConditionType::Reconciling);
        conditions::set(
            all,
            Statement::new(ConditionType::Stalled, true, reason, message),
            generation,
            &time(now),
        );
    } else {
        conditions::remove(all, ConditionType::Stalled);
        if busy {
            let statement = Statement::new(
                ConditionType::Reconciling,
                true,
                Reason::Progressing,
                view.plan.message.clone(),
            );
            conditions::set(all, statement, generation, &time(now));
        } else {
            conditions::remove(all, ConditionType::Reconciling);
        }
    }
    if view.overrides.is_none() {
        conditions::remove(all, ConditionType::OverridesValid);
    }
    let honoured = !all.iter().any(|c| {
        c.type_ == ConditionType::FieldsNotHonoured.as_str() && c.observed_generation != Some(generation)
    });
    if !honoured {
        conditions::remove(all, ConditionType::FieldsNotHonoured);
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
