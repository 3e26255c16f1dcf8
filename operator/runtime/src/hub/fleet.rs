// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One fleet: its members, its releases, and the way from what is wanted to orders and status.

mod deletion;
mod member;
mod orders;
mod release;

pub(super) use member::Member;
pub(super) use release::Release;

use super::authority::Authority;
use super::bodies;
use super::controller::Context;
use super::events::Subject;
use super::member::MemberReport;
use super::routing::{FleetConfig, Routing};
use super::selection::{Selection, keep_tainted, leavers, select};
use super::status::{FleetView, evidence, fleet_status, gateway_facts, member_status};
use super::{FleetKey, route_status};
use crds::conditions::Reason;
use crds::{FleetMemberStatus, GatewayFleet, MemberState};
use jiff::Timestamp;
use multicluster_rollout::{self as rollout, Intent, Plan};
use operator_ir::GatewayId;
use operator_revision::Sealer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Between looks at a fleet that waits for something that tells nothing by itself.
const RETRY: Duration = Duration::from_secs(5);

/// Everything that the hub knows of a fleet.
pub(super) struct FleetState {
    pub(super) key: FleetKey,
    pub(super) fleet: Arc<GatewayFleet>,
    pub(super) members: BTreeMap<String, Member>,
    /// In the order of their numbers.
    releases: Vec<Release>,
    sealer: Sealer,
    authority: Option<Authority>,
    quarantined: Vec<crds::gateway_fleet::Quarantined>,
    /// What is wrong with the spec or what it names.
    problems: Vec<(Reason, String)>,
    override_problem: Option<String>,
    /// Told by Event already.
    told: BTreeSet<String>,
    /// Sealed last, to leave out what is the same.
    sealed: Option<(Arc<FleetConfig>, String)>,
    /// When to look again although nothing changed.
    pub(super) due: Option<Timestamp>,
    /// The fleet is gone and nothing is left to do.
    pub(super) finished: bool,
}

impl FleetState {
    pub(super) fn new(key: FleetKey, fleet: Arc<GatewayFleet>) -> Self {
        let quarantined = fleet.status.as_ref().map(|status| status.quarantined.clone()).unwrap_or_default();
        Self {
            key,
            fleet,
            members: BTreeMap::new(),
            releases: Vec::new(),
            sealer: Sealer::new(),
            authority: None,
            quarantined,
            problems: Vec::new(),
            override_problem: None,
            told: BTreeSet::new(),
            sealed: None,
            due: None,
            finished: false,
        }
    }

    /// Takes what a member's worker tells.
    pub(super) fn report(&mut self, cluster: &str, report: MemberReport, context: &Context<'_>) {
        let (fleet, key) = (Arc::clone(&self.fleet), self.key.clone());
        let pinned = self.members.get(cluster).and_then(|member| member.pinned.clone());
        let hash = self.release_named(pinned.as_deref()).map(|release| release.hash.clone());
        let Some(member) = self.members.get_mut(cluster) else { return };
        member.take(report, hash.as_deref(), |corrected| {
            let text = format!("{cluster}: set back: {}", corrected.join(", "));
            context.events.tell(&Subject::fleet(&fleet, &key), "DriftCorrected", &text, false);
        });
    }

    /// From what is wanted and known to orders and status.
    pub(super) async fn reconcile(&mut self, routing: &Routing, context: &Context<'_>) {
        let now = Timestamp::now();
        self.due = None;
        self.problems.clear();
        self.override_problem = None;
        if self.fleet.metadata.deletion_timestamp.is_some() {
            return self.delete(context, now);
        }
        self.hold_finalizer(context).await;
        self.adopt(context);
        self.choose(context, now);
        if let Err(problem) = self.authorise(context, now).await {
            self.problems.push((Reason::ReferenceNotFound, problem));
            self.wake(now, RETRY);
        }
        self.look(context);
        let config = routing.config(&self.key);
        self.release(&config, context);
        let plan = self.plan(context, now);
        self.pin(&plan, now);
        self.order(context);
        self.publish(&plan, context, now);
        self.prune(context);
    }

    /// Members that the hub's objects tell of: the memory across restarts.
    fn adopt(&mut self, context: &Context<'_>) {
        for object in context.members_of(&self.key) {
            let cluster = object.spec.cluster.clone();
            match self.members.get_mut(&cluster) {
                Some(member) => member.object = Some(Arc::clone(object)),
                None => {
                    self.members.insert(cluster, Member::of_object(object));
                }
            }
        }
    }

    /// Who belongs to the fleet, who comes, who leaves.
    fn choose(&mut self, context: &Context<'_>, now: Timestamp) {
        let before: BTreeSet<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.state != MemberState::Orphaned)
            .map(|(name, _)| name.clone())
            .collect();
        let leaving: BTreeSet<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.leaving_since.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let mut selection = select(&self.fleet, context.clusters);
        keep_tainted(&self.fleet, context.clusters, &before, &mut selection);
        for (cluster, key) in &selection.members {
            let member = self.members.entry(cluster.clone()).or_default();
            member.cluster = Some(key.clone());
            member.leaving_since = None;
            member.state = MemberState::Active;
        }
        let gone = leavers(&self.fleet, &selection, &before, &leaving);
        for cluster in &gone.leaving {
            self.leave(cluster, context, now);
        }
        self.name_problems(&selection, &gone.held);
    }

    /// What is known of the members' clusters now.
    fn look(&mut self, context: &Context<'_>) {
        for member in self.members.values_mut() {
            member.facts = member.cluster.as_ref().and_then(|key| context.registry.facts(key));
            if let Some(cluster) = member.fleet_cluster(context).cloned() {
                member.mode = cluster.spec.mode;
                member.host = (cluster.spec.mode == crds::ClusterMode::Host).then(|| cluster.host());
            }
        }
    }

    fn name_problems(&mut self, selection: &Selection, held: &BTreeSet<String>) {
        if !selection.unknown.is_empty() {
            let names = joined(&selection.unknown);
            let text = format!("spec.clusters.names: no FleetCluster {names}; create it, or remove the name");
            self.problems.push((Reason::UnknownCluster, text));
        }
        if !selection.forbidden.is_empty() {
            let names = joined(&selection.forbidden);
            let text = format!(
                "spec.clusters.names: FleetCluster {names} does not allow fleets of namespace {}; add it to \
                 spec.allowedFleetNamespaces there",
                self.key.namespace
            );
            self.problems.push((Reason::UnknownCluster, text));
        }
        if !held.is_empty() {
            let text = format!(
                "{} clusters would leave at once ({}), more than spec.clusters.maxShrink allows; nothing is removed: raise \
                 maxShrink, or select them again",
                held.len(),
                joined(held)
            );
            self.problems.push((Reason::ShrinkGuard, text));
        }
    }

    /// The certificate authority, and an intermediate for each member.
    async fn authorise(&mut self, context: &Context<'_>, now: Timestamp) -> Result<(), String> {
        if self.authority.is_none() {
            let loading = Authority::load(context.objects, &self.key, &self.fleet.spec.trust_domain, now);
            self.authority = Some(loading.await.map_err(|error| crate::objects::chain(&error))?);
        }
        let Some(authority) = &mut self.authority else { return Ok(()) };
        for (cluster, member) in &mut self.members {
            let pem = authority.cluster(context.objects, cluster, now).await;
            let pem = pem.map_err(|error| crate::objects::chain(&error))?;
            member.authority = Some(pem);
        }
        Ok(())
    }

    fn plan(&self, context: &Context<'_>, now: Timestamp) -> Plan {
        let annotations = self.fleet.metadata.annotations.as_ref();
        let intent = Intent {
            rollout: self.fleet.spec.rollout.clone(),
            approval: annotations.and_then(|all| all.get(crds::ANNOTATION_APPROVE)).cloned(),
            quarantined: self.quarantined.clone(),
        };
        let revisions: Vec<_> = self.releases.iter().map(Release::revision).collect();
        let active = self.members.iter().filter(|(_, member)| member.is_active());
        let mut members = Vec::new();
        let mut facts = BTreeMap::new();
        for (name, member) in active {
            members.push(member.planned(name, context));
            facts.insert(name.clone(), evidence(&self.view(member, context), now));
        }
        rollout::plan(&intent, &revisions, &members, &facts, now)
    }

    /// Takes the plan over: pins, phases, verdicts.
    fn pin(&mut self, plan: &Plan, now: Timestamp) {
        for (cluster, pin) in &plan.pins {
            let Some(member) = self.members.get_mut(cluster) else { continue };
            member.wave = Some(pin.wave.clone());
            member.phase = Some(pin.phase);
            member.passed = pin.passed.clone().or(member.passed.take());
            member.last_good = pin.last_good.clone().or(member.last_good.take());
            if pin.revision.is_some() && member.pinned != pin.revision {
                tracing::info!(fleet = %self.key, %cluster, revision = pin.revision, "pinned");
                member.pinned.clone_from(&pin.revision);
                member.pinned_since = Some(now);
                member.last_ack = None;
                member.acked_before = 0;
            }
        }
        for entry in &plan.quarantine {
            if !self.quarantined.contains(entry) {
                self.quarantined.push(entry.clone());
            }
        }
        let token = &self.fleet.spec.rollout.retry_token;
        self.quarantined.retain(|entry| entry.retry_token == *token);
        self.judge(plan, now);
        if let Some(wait) = plan.requeue_after {
            self.wake(now, wait);
        }
    }

    fn wake(&mut self, now: Timestamp, wait: Duration) {
        let at = now
            .checked_add(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::from_secs(5)));
        if let Ok(at) = at {
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Status and Events.
    fn publish(&mut self, plan: &Plan, context: &Context<'_>, now: Timestamp) {
        let mut statuses: BTreeMap<String, FleetMemberStatus> = BTreeMap::new();
        for (cluster, member) in &self.members {
            let object = member.object(&self.key, cluster, self.config_version(member.pinned.as_deref()));
            let before = member.object.as_ref();
            let generation = before.and_then(|o| o.metadata.generation).unwrap_or(1);
            let old = before.and_then(|o| o.status.as_ref());
            let status = member_status(&self.view(member, context), old, generation, now);
            if !member.is_written_by_worker(&self.key, &self.fleet, context) {
                context.writer.apply(object.clone());
            }
            if old != Some(&status) {
                let mut written = object;
                // Relays write their entries themselves.
                written.status = Some(FleetMemberStatus { relays: Vec::new(), ..status.clone() });
                context.writer.status(written);
            }
            if member.is_active() {
                statuses.insert(cluster.clone(), status);
            }
        }
        let good = self.releases.iter().rev().find(|release| release.verdict == crds::Verdict::Good);
        let view = FleetView {
            members: &statuses,
            plan,
            active: good.map(|release| release.name.clone()),
            quarantined: &self.quarantined,
            orphaned: self.members.values().filter(|m| m.state == MemberState::Orphaned).count(),
            problems: &self.problems,
            overrides: self.override_problem.as_deref(),
        };
        let status = fleet_status(&self.fleet, &view, now);
        if self.fleet.status.as_ref() != Some(&status) {
            let mut fleet = self.fleet.as_ref().clone();
            fleet.status = Some(status);
            context.writer.status(fleet);
        }
        self.tell(plan, context);
    }

    fn tell(&mut self, plan: &Plan, context: &Context<'_>) {
        let subject = Subject::fleet(&self.fleet, &self.key);
        for event in &plan.events {
            let text = match event.subject.as_str() {
                "" => event.message.clone(),
                subject => format!("{subject}: {}", event.message),
            };
            context.events.tell(&subject, event.kind.as_str(), &text, event.kind.is_warning());
        }
        let now: BTreeSet<String> =
            self.problems.iter().map(|(reason, text)| format!("{reason}: {text}")).collect();
        for (reason, text) in &self.problems {
            if !self.told.contains(&format!("{reason}: {text}")) {
                context.events.tell(&subject, reason.as_str(), text, true);
            }
        }
        self.told = now;
    }

    /// What Gateways' statuses say of this fleet's gateways.
    pub(super) fn gateway_facts(&self, context: &Context<'_>, facts: &mut route_status::Facts) {
        let ids: BTreeSet<&GatewayId> =
            self.releases.iter().filter_map(|r| r.config.as_ref()).flat_map(|c| c.gateways.keys()).collect();
        for id in ids {
            let members = self.members.iter().filter(|(_, member)| member.is_active());
            let views = members.map(|(name, member)| (name.as_str(), self.view(member, context)));
            facts.insert(id.clone(), gateway_facts(id, views));
        }
    }
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Digest of what is no routing in a release.
fn template_digest(fleet: &GatewayFleet, config: &FleetConfig) -> String {
    bodies::template_digest(&fleet.spec, &config.workloads)
}
