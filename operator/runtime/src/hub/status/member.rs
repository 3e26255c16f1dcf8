// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The status of a FleetMember, and what a member's report is worth as evidence. Pure.

use crate::hub::member::{ConfigReport, MemberReport};
use crate::hub::registry::contact_time;
use crate::hub::time;
use crds::conditions::{self, ConditionType, Reason, Statement, Truth};
use crds::{ClusterMode, ConfigStatus, FleetMemberStatus, HostSpec, MemberPhase, ReplicaStatus};
use jiff::Timestamp;
use multicluster_apply::{Desired, Observed, ProblemReason};
use multicluster_clusters::{Facts, Reach};
use multicluster_manifests::GatewayWorkload;
use multicluster_rollout as rollout;
use operator_ir::GatewayId;
use operator_resolve::status::{GatewayFacts, Programmed};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest list of problems in one message.
const PROBLEM_LIMIT: usize = 5;

/// Everything that a member's status is made of.
#[derive(Clone, Copy, Debug)]
pub(in crate::hub) struct MemberView<'a> {
    pub(in crate::hub) mode: ClusterMode,
    /// Processes of a cluster of mode Host.
    pub(in crate::hub) host: Option<&'a HostSpec>,
    /// What is known of the cluster; none for mode Host.
    pub(in crate::hub) cluster: Option<&'a Facts>,
    pub(in crate::hub) report: &'a MemberReport,
    /// What was ordered.
    pub(in crate::hub) desired: Option<&'a Arc<Desired>>,
    /// The gateways of the pinned revision; none: it is not known here.
    pub(in crate::hub) workloads: Option<&'a [GatewayWorkload]>,
    pub(in crate::hub) revision: Option<&'a str>,
    pub(in crate::hub) config_version: Option<&'a str>,
    pub(in crate::hub) config_hash: Option<&'a str>,
    pub(in crate::hub) wave: Option<&'a str>,
    pub(in crate::hub) phase: Option<MemberPhase>,
    pub(in crate::hub) passed: Option<&'a str>,
    pub(in crate::hub) last_good: Option<&'a str>,
    pub(in crate::hub) pinned_since: Option<Timestamp>,
    pub(in crate::hub) last_ack: Option<Timestamp>,
    /// Why there is no order, with object, field and remedy.
    pub(in crate::hub) obstacle: Option<&'a (Reason, String)>,
}

impl MemberView<'_> {
    /// What the relays say of what the member is pinned to.
    fn config(&self) -> Option<ConfigReport> {
        self.report.config_of(self.config_hash?)
    }

    fn reachable(&self) -> bool {
        self.mode == ClusterMode::Host || self.cluster.is_some_and(|facts| facts.reach.is_reachable())
    }

    /// Whether what runs was made by what was ordered.
    fn applied(&self) -> bool {
        match (&self.report.applied, self.desired) {
            (Some(applied), Some(desired)) => {
                Arc::ptr_eq(&applied.desired, desired) && applied.problems.is_empty()
            }
            _ => false,
        }
    }

    /// Replicas over all gateways of the pinned revision; none while some are not seen.
    fn replicas(&self) -> Option<ReplicaStatus> {
        let (workloads, observed) = (self.workloads?, self.report.observed.as_ref()?);
        let mut sum = ReplicaStatus::default();
        for workload in workloads {
            let state = observed.gateways.get(&(workload.id.namespace.clone(), workload.id.name.clone()))?;
            sum.desired += state.desired;
            sum.ready += if state.current { state.ready.min(state.updated) } else { 0 };
            sum.updated += state.updated;
        }
        Some(sum)
    }
}

/// When the cluster last answered. One that was not asked yet has the benefit of the doubt: its first probe is on its way.
fn contact(view: &MemberView<'_>, now: Timestamp) -> Option<Timestamp> {
    match (view.mode, view.cluster) {
        (ClusterMode::Host, _) => Some(now),
        (_, Some(facts)) if facts.reach == Reach::Unknown => Some(now),
        (_, facts) => facts.and_then(|facts| facts.last_contact),
    }
}

/// What the rollout may take for granted of a member.
pub(in crate::hub) fn evidence(view: &MemberView<'_>, now: Timestamp) -> rollout::Facts {
    let count = |number: i32| usize::try_from(number).unwrap_or(0);
    let replicas = view.replicas();
    let config = view.config();
    let config = config.as_ref();
    let pinned_there = view.mode == ClusterMode::Host
        || config.is_some()
        || (view.revision.is_some() && view.report.pinned.as_deref() == view.revision);
    rollout::Facts {
        last_contact: contact(view, now),
        observed_revision: view.revision.filter(|_| pinned_there).map(str::to_owned),
        pinned_since: view.pinned_since,
        applied: view.applied(),
        gateways: rollout::Gateways {
            desired: replicas.map(|r| count(r.desired)),
            ready: replicas.map_or(0, |r| count(r.ready)),
            acked: config.map_or(0, |c| c.counts.acked),
            nacked: config.map_or(0, |c| c.counts.nacked),
        },
        last_ack: view.last_ack,
        rejection: config
            .and_then(|c| c.nacks.first())
            .map(|nack| rollout::Rejection { source: nack.source.clone(), message: nack.message.clone() }),
    }
}

/// The status of a FleetMember.
pub(in crate::hub) fn member_status(
    view: &MemberView<'_>,
    before: Option<&FleetMemberStatus>,
    generation: i64,
    now: Timestamp,
) -> FleetMemberStatus {
    let before = before.cloned().unwrap_or_default();
    let contact =
        if view.mode == ClusterMode::Host { Some(now) } else { view.cluster.and_then(|f| f.last_contact) };
    let mut status = FleetMemberStatus {
        observed_generation: generation,
        wave: view.wave.map(str::to_owned),
        phase: view.phase,
        observed_revision: evidence(view, now).observed_revision,
        passed_revision: view.passed.map(str::to_owned),
        last_good_revision: view.last_good.map(str::to_owned),
        last_contact_time: contact_time(before.last_contact_time.map(|t| t.0), contact).map(time),
        soak_start_time: view.last_ack.map(time),
        replicas: view.replicas(),
        config: Some(config_status(view)),
        plugins: plugins(&before.relays),
        relays: before.relays,
        addresses: addresses(view),
        gates: Vec::new(),
        drift: view.report.applied.as_ref().map(|a| a.drift.clone()).unwrap_or_default(),
        conditions: before.conditions,
    };
    let statements = statements(view);
    // What is wrong says more than what is not known yet.
    let wrong = statements.iter().find(|s| s.status == Truth::False);
    let obstacle = wrong.or_else(|| statements.iter().find(|s| s.status == Truth::Unknown)).cloned();
    let ready = match obstacle {
        Some(obstacle) => {
            Statement { condition_type: ConditionType::Ready, status: Truth::False, ..obstacle }
        }
        None => Statement::new(
            ConditionType::Ready,
            true,
            Reason::Healthy,
            "all gateways serve what they are pinned to",
        ),
    };
    for statement in statements.into_iter().chain([ready]) {
        conditions::set(&mut status.conditions, statement, generation, &time(now));
    }
    status
}

fn config_status(view: &MemberView<'_>) -> ConfigStatus {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let mut status =
        ConfigStatus { desired: view.config_version.map(str::to_owned), ..ConfigStatus::default() };
    if let Some(config) = view.config() {
        status.connected = count(config.counts.connected);
        status.acked = count(config.counts.acked);
        status.nacked = count(config.counts.nacked);
        status.prepared = status.acked;
        status.nacks.clone_from(&config.nacks);
    }
    if view.passed.is_some() && view.passed == view.revision {
        status.last_good.clone_from(&status.desired);
    }
    status
}

fn statements(view: &MemberView<'_>) -> Vec<Statement> {
    let mut statements = vec![reachable(view), applied(view), ready_pods(view)];
    statements.extend([config_acked(view), drift_free(view), backends_found(view)]);
    statements.into_iter().flatten().collect()
}

fn reachable(view: &MemberView<'_>) -> Option<Statement> {
    let kind = ConditionType::Reachable;
    Some(match (view.mode, view.cluster.map(|facts| &facts.reach)) {
        (ClusterMode::Host, _) => Statement::new(kind, true, Reason::Connected, "processes of this machine"),
        (_, Some(Reach::Reachable { .. })) => {
            Statement::new(kind, true, Reason::Connected, "the API server answers")
        }
        (_, Some(Reach::Unreachable { message, .. })) => Statement::new(
            kind,
            false,
            Reason::Unreachable,
            format!("{message}; see the FleetCluster's conditions"),
        ),
        (_, Some(Reach::Unknown) | None) => {
            Statement::new(kind, Truth::Unknown, Reason::Pending, "not asked yet")
        }
    })
}

fn applied(view: &MemberView<'_>) -> Option<Statement> {
    let kind = ConditionType::Applied;
    if let Some((reason, message)) = view.obstacle {
        return Some(Statement::new(kind, false, *reason, message.clone()));
    }
    if !view.reachable() {
        return Some(Statement::new(
            kind,
            Truth::Unknown,
            Reason::Unreachable,
            "the cluster does not answer",
        ));
    }
    if let Some(problem) = &view.report.problem {
        let reason = if view.report.fenced { Reason::ForeignOwner } else { Reason::ApplyFailed };
        return Some(Statement::new(kind, false, reason, problem.clone()));
    }
    Some(match &view.report.applied {
        Some(applied) if !applied.problems.is_empty() => {
            let reason = if applied.conflict { Reason::Conflict } else { Reason::ApplyFailed };
            Statement::new(kind, false, reason, list(applied.problems.iter().map(String::as_str)))
        }
        Some(_) if view.applied() => {
            Statement::new(kind, true, Reason::ObjectsApplied, "objects are as the fleet wants them")
        }
        _ => Statement::new(kind, Truth::Unknown, Reason::Pending, "objects are being applied"),
    })
}

/// Plugins as the relays hold them; one that any of them cannot get is not held.
fn plugins(relays: &[crds::RelayStatus]) -> Vec<crds::PluginStatus> {
    let mut all: std::collections::BTreeMap<String, crds::PluginStatus> = std::collections::BTreeMap::new();
    for plugin in relays.iter().flat_map(|relay| &relay.plugins) {
        let entry = all.entry(plugin.name.clone()).or_insert_with(|| plugin.clone());
        entry.cached &= plugin.cached;
        entry.message = entry.message.take().or_else(|| plugin.message.clone());
    }
    all.into_values().collect()
}

/// Only when something is wrong: readiness has no condition of its own.
fn ready_pods(view: &MemberView<'_>) -> Option<Statement> {
    if !view.reachable() {
        return None;
    }
    let observed: &Observed = view.report.observed.as_ref()?;
    let replicas = view.replicas();
    let short = replicas.is_none_or(|r| r.ready < r.desired);
    let grave: Vec<_> =
        observed.problems.iter().filter(|p| short || p.reason == ProblemReason::ImagePullFailed).collect();
    let reason = match grave.iter().map(|p| p.reason).min() {
        Some(ProblemReason::ImagePullFailed) => Reason::ImagePullFailed,
        Some(ProblemReason::AddressPending) if !short => return None,
        _ if short => Reason::PodsNotReady,
        _ => return None,
    };
    let count =
        replicas.map_or_else(String::new, |r| format!("{} of {} gateways ready; ", r.ready, r.desired));
    let text = list(grave.iter().map(|p| p.message.as_str()));
    Some(Statement::new(ConditionType::Ready, false, reason, format!("{count}{text}")))
}

fn config_acked(view: &MemberView<'_>) -> Option<Statement> {
    let kind = ConditionType::ConfigAcked;
    if !view.reachable() {
        return Some(Statement::new(
            kind,
            Truth::Unknown,
            Reason::Unreachable,
            "the cluster does not answer",
        ));
    }
    let Some(config) = view.config() else {
        return Some(Statement::new(
            kind,
            Truth::Unknown,
            Reason::AwaitingAck,
            "the relay has not reported on this revision",
        ));
    };
    let desired = view.replicas().map_or(0, |r| usize::try_from(r.desired).unwrap_or(0));
    let counts = config.counts;
    Some(if let Some(nack) = config.nacks.first().filter(|_| counts.nacked > 0) {
        let source = if nack.source.is_empty() { &nack.resource } else { &nack.source };
        let text =
            format!("{} of {} gateways rejected {source}: {}", counts.nacked, counts.connected, nack.message);
        Statement::new(kind, false, Reason::ConfigRejected, text)
    } else if counts.connected == 0 && desired > 0 {
        Statement::new(
            kind,
            false,
            Reason::NoGateways,
            "no gateway is connected to the relay; see its pods and their logs",
        )
    } else if counts.acked < desired {
        let text = format!("{} of {desired} gateways serve the revision", counts.acked);
        Statement::new(kind, false, Reason::AwaitingAck, text)
    } else {
        Statement::new(kind, true, Reason::Acked, format!("{} gateways serve the revision", counts.acked))
    })
}

fn drift_free(view: &MemberView<'_>) -> Option<Statement> {
    let kind = ConditionType::DriftFree;
    let applied = view.report.applied.as_ref()?;
    Some(match applied.drift.first() {
        Some(first) => {
            let text = format!(
                "{} differs at {}; set spec.drift.mode: Correct, or undo the change",
                first.kind, first.path
            );
            Statement::new(kind, false, Reason::Drifted, text)
        }
        None => Statement::new(kind, true, Reason::NoDrift, "nobody changed what is ours"),
    })
}

/// A route to a Service that the cluster lacks answers 500 there; the Service may well exist elsewhere.
fn backends_found(view: &MemberView<'_>) -> Option<Statement> {
    let kind = ConditionType::BackendsFound;
    let config = view.config()?;
    if config.absent_backends.is_empty() {
        return Some(Statement::new(kind, true, Reason::AllFound, "every Service that routes name is there"));
    }
    let names = list(config.absent_backends.iter().map(String::as_str));
    let text = format!(
        "not in this cluster: {names}; create it there, or correct backendRefs of the routes that name it (they answer 500)"
    );
    Some(Statement::new(kind, false, Reason::BackendNotFound, text))
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = texts.collect();
    let more = all.len().saturating_sub(PROBLEM_LIMIT);
    let mut text = all.into_iter().take(PROBLEM_LIMIT).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// Where clients reach the member's gateways. Processes of this machine share one address, so their ports tell them apart.
pub(in crate::hub) fn addresses(view: &MemberView<'_>) -> Vec<String> {
    let Some(observed) = &view.report.observed else { return Vec::new() };
    if let Some(host) = view.host {
        let ports = view.workloads.unwrap_or_default().iter().flat_map(|workload| &workload.ports);
        let offset = |port: u16| i32::from(port) + host.port_offset;
        let all: BTreeSet<String> =
            ports.map(|port| format!("{}:{}", bracketed(&host.address), offset(port.port))).collect();
        return all.into_iter().collect();
    }
    let all: BTreeSet<&String> = observed.addresses.values().flatten().collect();
    all.into_iter().cloned().collect()
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// What a Gateway's status says of its workloads in these members.
pub(in crate::hub) fn gateway_facts<'a>(
    id: &GatewayId,
    members: impl Iterator<Item = (&'a str, MemberView<'a>)>,
) -> GatewayFacts {
    let key = (id.namespace.clone(), id.name.clone());
    let mut addresses = BTreeSet::new();
    let mut waiting = Vec::new();
    let mut any = false;
    for (cluster, view) in members {
        let observed = view.report.observed.as_ref();
        addresses.extend(observed.and_then(|o| o.addresses.get(&key)).into_iter().flatten().cloned());
        if !view.reachable() {
            continue;
        }
        any = true;
        let ready = observed.and_then(|o| o.gateways.get(&key)).map_or(0, |state| state.ready);
        let acked =
            view.config().map_or(0, |c| c.gateways.get(id).map_or(c.counts.acked, |counts| counts.acked));
        if ready == 0 {
            waiting.push(format!("no proxy is ready in cluster {cluster}"));
        } else if acked == 0 {
            waiting.push(format!("no proxy serves the newest configuration in cluster {cluster}"));
        }
    }
    let programmed = match (any, waiting.is_empty()) {
        (false, _) => Programmed::NoResources("no cluster of the fleet is reachable".to_owned()),
        (true, true) => Programmed::Yes,
        (true, false) => Programmed::Pending(waiting.join("; ")),
    };
    GatewayFacts { programmed, addresses: addresses.into_iter().collect() }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
