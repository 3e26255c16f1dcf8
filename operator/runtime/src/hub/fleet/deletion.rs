// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Leaving: a cluster that is no longer selected, and a fleet that is deleted.

use super::orders::give;
use super::{FleetState, Member};
use crate::hub::controller::Context;
use crate::hub::events::Subject;
use crate::hub::member::{Order, Place, Start, start};
use crds::gateway_fleet::{DeletionPolicy, OnDeselect};
use crds::{ClusterMode, FleetMember, FleetRevision, GatewayFleet, MemberState};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

/// What is to become of a member that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Too early.
    Wait,
    /// Everything stays there, unmanaged.
    Orphan,
    /// Everything goes.
    Remove,
    /// Nothing is left, neither there nor here.
    Forget,
}

impl FleetState {
    /// A member whose cluster is no longer selected, or whose FleetCluster is gone.
    pub(super) fn leave(&mut self, cluster: &str, context: &Context<'_>, now: Timestamp) {
        let spec = self.fleet.spec.clusters.clone();
        let Some(mut member) = self.members.remove(cluster) else { return };
        if member.leaving_since.is_none() {
            tracing::info!(fleet = %self.key, cluster, "no longer selected");
            member.leaving_since = Some(now);
        }
        let grace = spec.deselect_grace.or(Duration::from_secs(3600));
        let over = passed(member.leaving_since, grace, now);
        let step = match (over, spec.on_deselect) {
            (false, _) => Step::Wait,
            (true, OnDeselect::Orphan) => Step::Orphan,
            (true, OnDeselect::Delete | OnDeselect::DrainThenDelete) if member.report.removed => Step::Forget,
            (true, OnDeselect::Delete | OnDeselect::DrainThenDelete) => Step::Remove,
        };
        if step == Step::Wait {
            self.wake(now, grace);
        }
        if let Some(member) = self.step(cluster, member, step, context) {
            self.members.insert(cluster.to_owned(), member);
        }
    }

    /// The fleet is being deleted: every member goes by inventory, then the hub's own objects, then the finalizer.
    pub(super) fn delete(&mut self, context: &Context<'_>, now: Timestamp) {
        self.adopt(context);
        let deletion = self.fleet.spec.deletion.clone();
        let since = self.fleet.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let grace = deletion.unreachable_grace.or(Duration::from_secs(1800));
        let over = passed(since, grace, now);
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in names {
            let Some(mut member) = self.members.remove(&name) else { continue };
            self.find_cluster(&name, &mut member, context);
            let reachable = member.mode == ClusterMode::Host
                || member.facts.as_ref().is_some_and(|f| f.reach.is_reachable());
            let step = match deletion.policy {
                DeletionPolicy::Orphan => Step::Orphan,
                _ if member.report.removed || member.state == MemberState::Orphaned => Step::Forget,
                _ if member.cluster.is_none() || (!reachable && over) => Step::Orphan,
                _ => Step::Remove,
            };
            if let Some(member) = self.step(&name, member, step, context) {
                let left = member.state != MemberState::Orphaned;
                if left {
                    self.members.insert(name, member);
                }
            }
        }
        if self.members.is_empty() {
            self.finish(context);
        } else {
            self.wake(now, super::RETRY);
        }
    }

    fn find_cluster(&self, name: &str, member: &mut Member, context: &Context<'_>) {
        if member.cluster.is_none() {
            let own =
                context.clusters.keys().find(|key| key.name == name && key.namespace == self.key.namespace);
            member.cluster = own.or_else(|| context.clusters.keys().find(|key| key.name == name)).cloned();
        }
        member.facts = member.cluster.as_ref().and_then(|key| context.registry.facts(key));
        if let Some(cluster) = member.fleet_cluster(context) {
            member.mode = cluster.spec.mode;
        }
    }

    /// Takes a step; the member, if there is still one.
    fn step(&self, cluster: &str, mut member: Member, step: Step, context: &Context<'_>) -> Option<Member> {
        let subject = Subject::fleet(&self.fleet, &self.key);
        match step {
            Step::Wait => Some(member),
            Step::Orphan => {
                if member.state != MemberState::Orphaned {
                    let text = format!("{cluster}: what runs there is left as it is, unmanaged");
                    context.events.tell(&subject, "Orphaned", &text, true);
                    member.state = MemberState::Orphaned;
                    self.stop(cluster, &mut member, context);
                    context.writer.apply(member.object(&self.key, cluster, None));
                }
                Some(member)
            }
            Step::Remove => {
                self.work_to_remove(cluster, &mut member, context);
                give(&mut member, Order { remove: Some(context.fence.clone()), ..Order::default() });
                Some(member)
            }
            Step::Forget => {
                self.stop(cluster, &mut member, context);
                context
                    .writer
                    .delete::<FleetMember>(&self.key.namespace, &format!("{}-{cluster}", self.key.name));
                None
            }
        }
    }

    fn stop(&self, cluster: &str, member: &mut Member, context: &Context<'_>) {
        member.worker = None;
        member.ordered = Order::default();
        if member.relay.take().is_some()
            && let Some(relays) = &context.options.relays
        {
            relays.stop(&member.key(&self.key, cluster));
        }
    }

    /// After a restart there may be no worker yet; to remove, one needs neither a relay nor a release.
    fn work_to_remove(&self, cluster: &str, member: &mut Member, context: &Context<'_>) {
        if member.worker.is_some() {
            return;
        }
        let Some(handle) = member.cluster.as_ref().and_then(|key| context.registry.handle(key)) else {
            // Processes of this machine ended with the process that ran them.
            member.report.removed = member.mode == ClusterMode::Host;
            return;
        };
        member.worker = Some(start(
            Start {
                member: member.key(&self.key, cluster),
                namespace: self.fleet.target_namespace().to_owned(),
                place: Place::Api(handle.clone()),
                relay: None,
                reports: context.reports.clone(),
            },
            context.tasks,
        ));
    }

    fn finish(&mut self, context: &Context<'_>) {
        for revision in context.revisions_of(&self.key) {
            let name = revision.metadata.name.clone().unwrap_or_default();
            context.writer.delete::<FleetRevision>(&self.key.namespace, &name);
        }
        context.writer.delete::<Secret>(&self.key.namespace, &format!("{}-ca", self.key.name));
        self.finished = true;
        if context.objects.client().is_some() {
            let (objects, key) = (context.objects.clone(), self.key.clone());
            context.tasks.spawn(async move { set_finalizer(&objects, &key, None).await });
        }
    }

    /// The fleet must not go before its members did. A folder has no finalizers: there, the file's end is told.
    pub(super) async fn hold_finalizer(&self, context: &Context<'_>) {
        let held =
            self.fleet.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == crds::FINALIZER);
        if !held && context.objects.client().is_some() {
            set_finalizer(context.objects, &self.key, Some(&self.fleet)).await;
        }
    }
}

/// Adds our finalizer to `fleet`, or removes it from whatever is there.
async fn set_finalizer(
    objects: &crate::objects::Objects,
    key: &crate::hub::FleetKey,
    add_to: Option<&GatewayFleet>,
) {
    let Some(client) = objects.client() else { return };
    let api: Api<GatewayFleet> = Api::namespaced(client.clone(), &key.namespace);
    let limit = crate::hub::member::CALL_LIMIT;
    let newest = match add_to {
        Some(fleet) => Some(fleet.clone()),
        None => tokio::time::timeout(limit, api.get_opt(&key.name)).await.ok().and_then(Result::ok).flatten(),
    };
    let Some(fleet) = newest else { return };
    let mut finalizers = fleet.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != crds::FINALIZER);
    if add_to.is_some() {
        finalizers.push(crds::FINALIZER.to_owned());
    }
    // The resource version guards the list, which others share.
    let version = fleet.metadata.resource_version.clone();
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}}));
    let params =
        PatchParams { field_manager: Some(crds::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match tokio::time::timeout(limit, api.patch_metadata(&key.name, &params, &patch)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(fleet = %key, %error, "finalizer"),
        Err(_) => tracing::debug!(fleet = %key, "finalizer: no answer"),
    }
}

fn passed(since: Option<Timestamp>, grace: Duration, now: Timestamp) -> bool {
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    since.is_some_and(|since| now.duration_since(since) >= grace)
}
