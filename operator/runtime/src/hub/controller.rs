// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The hub's one loop: takes what happened, settles what it touches, and never waits for a cluster.

use super::events::Events;
use super::fleet::FleetState;
use super::member::MemberReport;
use super::options::HubOptions;
use super::registry::{Registry, Secrets, cluster_status};
use super::route_status;
use super::routing::Routing;
use super::selection::Clusters;
use super::sources::{self, Input, SOURCES, Source, is_not_installed};
use super::writer::Writer;
use super::{ClusterKey, FleetKey};
use crate::objects::Objects;
use crds::{FleetMember, FleetRevision};
use jiff::Timestamp;
use multicluster_apply::{Fence, MemberKey};
use multicluster_clusters::ClusterHandle;
use operator_ir::ObjectKind;
use operator_resolve::{Change, Object, StatusChange};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Most inputs that are taken in before they are settled; whatever waits then comes right after.
const BATCH: usize = 4096;
/// Reports and contacts that wait.
const QUEUE: usize = 1024;
/// Longest time without a look at what is due.
const IDLE: Duration = Duration::from_secs(30);

/// What a fleet needs of the rest of the hub.
pub(super) struct Context<'a> {
    pub(super) options: &'a HubOptions,
    pub(super) objects: &'a Objects,
    pub(super) clusters: &'a Clusters,
    pub(super) registry: &'a Registry,
    pub(super) writer: &'a Writer,
    pub(super) events: &'a Events,
    pub(super) fence: &'a Fence,
    pub(super) tasks: &'a TaskTracker,
    pub(super) reports: &'a mpsc::Sender<(MemberKey, MemberReport)>,
    members: &'a BTreeMap<(String, String), Arc<FleetMember>>,
    revisions: &'a BTreeMap<(String, String), Arc<FleetRevision>>,
}

impl Context<'_> {
    /// FleetMembers of a fleet on the hub. Those that are pins in a target namespace of this cluster are others' business.
    pub(super) fn members_of(&self, fleet: &FleetKey) -> impl Iterator<Item = &Arc<FleetMember>> {
        let fleet = fleet.clone();
        self.members.values().filter(move |member| {
            member.metadata.namespace.as_deref() == Some(&fleet.namespace)
                && member.spec.fleet == fleet.name
                && member.spec.fleet_namespace == fleet.namespace
        })
    }

    /// Whether a FleetRevision was seen.
    pub(super) fn has_revision(&self, namespace: &str, name: &str) -> bool {
        self.revisions.contains_key(&(namespace.to_owned(), name.to_owned()))
    }

    /// FleetRevisions of a fleet.
    pub(super) fn revisions_of(&self, fleet: &FleetKey) -> impl Iterator<Item = &Arc<FleetRevision>> {
        let fleet = fleet.clone();
        self.revisions.values().filter(move |revision| {
            revision.metadata.namespace.as_deref() == Some(&fleet.namespace)
                && revision.spec.fleet == fleet.name
        })
    }
}

/// What must be looked at again.
#[derive(Default)]
struct Dirty {
    routing: bool,
    fleets: BTreeSet<FleetKey>,
    clusters: BTreeSet<ClusterKey>,
}

/// The loop and everything it knows.
pub(super) struct Controller {
    options: HubOptions,
    fence: Fence,
    tasks: TaskTracker,
    writer: Writer,
    events: Events,
    routing: Routing,
    registry: Registry,
    fleets: BTreeMap<FleetKey, FleetState>,
    clusters: Clusters,
    secrets: Secrets,
    members: BTreeMap<(String, String), Arc<FleetMember>>,
    revisions: BTreeMap<(String, String), Arc<FleetRevision>>,
    listed: BTreeSet<Source>,
    dirty: Dirty,
    /// Gateways' facts as last written into statuses.
    facts: route_status::Facts,
    reports: mpsc::Sender<(MemberKey, MemberReport)>,
    reported: mpsc::Receiver<(MemberKey, MemberReport)>,
    contacts: mpsc::Sender<ClusterKey>,
    contacted: mpsc::Receiver<ClusterKey>,
}

impl Controller {
    pub(super) fn new(options: HubOptions, hub: String, epoch: i64, tasks: TaskTracker) -> Self {
        let (reports, reported) = mpsc::channel(QUEUE);
        let (contacts, contacted) = mpsc::channel(QUEUE);
        Self {
            fence: Fence { hub, epoch },
            tasks,
            writer: Writer::new(options.objects.clone()),
            events: Events::new(options.objects.clone(), options.identity.clone()),
            routing: Routing::new(),
            registry: Registry::new(options.objects.client().cloned()),
            options,
            fleets: BTreeMap::new(),
            clusters: Clusters::new(),
            secrets: Secrets::new(),
            members: BTreeMap::new(),
            revisions: BTreeMap::new(),
            listed: BTreeSet::new(),
            dirty: Dirty::default(),
            facts: route_status::Facts::new(),
            reports,
            reported,
            contacts,
            contacted,
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self) {
        let (mut inputs, _guard) = sources::follow(&self.options.objects);
        loop {
            let due = self.until_due();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                Some((member, report)) = self.reported.recv() => self.take_report(&member, report),
                Some(cluster) = self.contacted.recv() => self.touch_cluster(cluster),
                () = tokio::time::sleep(due) => self.take_due(),
            }
            let mut taken = 1;
            while taken < BATCH {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input);
                taken += 1;
            }
            while let Ok((member, report)) = self.reported.try_recv() {
                self.take_report(&member, report);
            }
            if self.listed.len() == SOURCES.len() {
                self.routing.set_known(self.sees_all_members());
                self.settle().await;
            }
        }
    }

    /// Whether every member's Services and Secrets are on the hub's own API server. With a cluster elsewhere they are not:
    /// what the hub lacks may exist there, and the relay there says what does not.
    fn sees_all_members(&self) -> bool {
        let here = |cluster: &Arc<crds::FleetCluster>| {
            cluster.spec.local || cluster.spec.mode == crds::ClusterMode::Host
        };
        self.options.objects.client().is_some()
            && !self.clusters.is_empty()
            && self.clusters.values().all(here)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Fleet(key, Some(fleet)) => {
                match self.fleets.get_mut(&key) {
                    Some(state) => state.fleet = fleet,
                    None => {
                        self.fleets.insert(key.clone(), FleetState::new(key.clone(), fleet));
                    }
                }
                self.dirty.fleets.insert(key);
            }
            Input::Fleet(key, None) => self.forget_fleet(&key),
            Input::Cluster(key, cluster) => {
                match cluster {
                    Some(cluster) => drop(self.clusters.insert(key.clone(), cluster)),
                    None => drop(self.clusters.remove(&key)),
                }
                self.touch_cluster(key);
            }
            Input::Member(key, member) => self.take_member(key, member),
            Input::Revision(key, Some(revision)) => self.take_revision(key, revision),
            Input::Revision(key, None) => drop(self.revisions.remove(&key)),
            Input::Secret(key, secret) => self.take_secret(key, secret),
            Input::Routing(change) => self.take_routing(change),
            Input::Listed(source) => self.take_listed(source),
            Input::Failed(source, problem) if is_not_installed(&problem) => self.take_listed(source),
            // What was told before stays true as far as anyone knows.
            Input::Failed(source, problem) => tracing::warn!(?source, %problem, "cannot be read now"),
        }
    }

    fn take_listed(&mut self, source: Source) {
        if self.listed.insert(source) {
            tracing::debug!(?source, "listed");
            self.dirty.routing = true;
            self.dirty.fleets.extend(self.fleets.keys().cloned());
        }
    }

    fn take_member(&mut self, key: (String, String), member: Option<Arc<FleetMember>>) {
        let fleet = member.as_ref().or_else(|| self.members.get(&key)).map(|member| FleetKey {
            namespace: member.spec.fleet_namespace.clone(),
            name: member.spec.fleet.clone(),
        });
        let ours = match (&member, self.members.get(&key)) {
            // Our own status writes come back as events; only what others changed is news.
            (Some(new), Some(old)) => new.spec != old.spec || new.metadata.labels != old.metadata.labels,
            _ => true,
        };
        match member {
            Some(member) => drop(self.members.insert(key, member)),
            None => {
                self.writer.forget::<FleetMember>("object", &key.0, &key.1);
                self.writer.forget::<FleetMember>("status", &key.0, &key.1);
                self.members.remove(&key);
            }
        }
        if let (true, Some(fleet)) = (ours, fleet) {
            self.dirty.fleets.insert(fleet);
        }
    }

    /// A release's status is written once its object is there to carry it.
    fn take_revision(&mut self, key: (String, String), revision: Arc<FleetRevision>) {
        let fleet = FleetKey { namespace: key.0.clone(), name: revision.spec.fleet.clone() };
        if self.revisions.insert(key, revision).is_none() {
            self.dirty.fleets.insert(fleet);
        }
    }

    fn take_secret(
        &mut self,
        key: (String, String),
        secret: Option<Arc<k8s_openapi::api::core::v1::Secret>>,
    ) {
        match secret {
            Some(secret) => drop(self.secrets.insert(key.clone(), secret)),
            None => drop(self.secrets.remove(&key)),
        }
        let readers: Vec<ClusterKey> = self
            .clusters
            .iter()
            .filter(|(_, cluster)| {
                let spec = &cluster.spec;
                let kubeconfig = spec.kubeconfig_secret.as_ref().map(|secret| &secret.name);
                let argocd = spec.argocd_secret.as_ref().map(|secret| &secret.name);
                cluster.metadata.namespace.as_ref() == Some(&key.0) && kubeconfig.or(argocd) == Some(&key.1)
            })
            .map(|(key, _)| key.clone())
            .collect();
        self.dirty.clusters.extend(readers);
    }

    fn take_routing(&mut self, change: Change) {
        if let Change::Delete(object) = &change {
            self.forget_status(object);
        }
        if let Change::Upsert(Object::Fleet(fleet)) = &change {
            // Status writes come back as events, too.
            self.dirty.fleets.insert(super::selection::fleet_key(fleet));
        }
        self.routing.apply(change);
        self.dirty.routing = true;
    }

    /// A later object of the same name must get its status, whatever the earlier one said.
    fn forget_status(&self, object: &operator_ir::ObjectRef) {
        use crds::gateway_api::{Gateway, GatewayClass, HttpRoute};
        use k8s_openapi::api::networking::v1::Ingress;
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        match object.kind {
            ObjectKind::GatewayClass => self.writer.forget::<GatewayClass>("status", namespace, name),
            ObjectKind::Gateway => self.writer.forget::<Gateway>("status", namespace, name),
            ObjectKind::HTTPRoute => self.writer.forget::<HttpRoute>("status", namespace, name),
            ObjectKind::Ingress => self.writer.forget::<Ingress>("status", namespace, name),
            _ => {}
        }
    }

    fn take_report(&mut self, member: &MemberKey, report: MemberReport) {
        let key = FleetKey { namespace: member.fleet_namespace.clone(), name: member.fleet.clone() };
        let Some(mut state) = self.fleets.remove(&key) else { return };
        state.report(&member.cluster, report, &self.context());
        self.fleets.insert(key.clone(), state);
        self.dirty.fleets.insert(key);
    }

    fn touch_cluster(&mut self, key: ClusterKey) {
        self.dirty.fleets.extend(self.fleets.keys().cloned());
        self.dirty.clusters.insert(key);
    }

    /// The fleet is gone. Over an API server its finalizer saw to everything; in a folder its file was removed.
    fn forget_fleet(&mut self, key: &FleetKey) {
        let Some(state) = self.fleets.remove(key) else { return };
        let in_folder = self.options.objects.client().is_none();
        for (cluster, member) in &state.members {
            if let Some(relays) = self.options.relays.as_ref().filter(|_| member.relay.is_some()) {
                relays.stop(&member.key(key, cluster));
            }
            if in_folder {
                self.writer.delete::<FleetMember>(&key.namespace, &format!("{}-{cluster}", key.name));
            }
        }
    }

    fn until_due(&self) -> Duration {
        let now = Timestamp::now();
        let next = self.fleets.values().filter_map(|state| state.due).min();
        let wait = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        wait.unwrap_or(IDLE).min(IDLE)
    }

    fn take_due(&mut self) {
        let now = Timestamp::now();
        let due = self.fleets.values().filter(|state| state.due.is_some_and(|at| at <= now));
        let keys: Vec<_> = due.map(|state| state.key.clone()).collect();
        self.dirty.fleets.extend(keys);
    }

    fn context(&self) -> Context<'_> {
        Context {
            options: &self.options,
            objects: &self.options.objects,
            clusters: &self.clusters,
            registry: &self.registry,
            writer: &self.writer,
            events: &self.events,
            fence: &self.fence,
            tasks: &self.tasks,
            reports: &self.reports,
            members: &self.members,
            revisions: &self.revisions,
        }
    }

    /// Settles everything that is dirty: clusters, routing, fleets, statuses of routing objects.
    async fn settle(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        for key in &dirty.clusters {
            self.settle_cluster(key);
        }
        let mut statuses: Vec<StatusChange> = Vec::new();
        let mut fleets = dirty.fleets;
        if dirty.routing {
            let routed = self.routing.settle();
            fleets.extend(routed.fleets);
            statuses = routed.statuses;
        }
        for key in &fleets {
            if let Some(mut state) = self.fleets.remove(key) {
                state.reconcile(&self.routing, &self.context()).await;
                self.fleets.insert(key.clone(), state);
            }
        }
        if !fleets.is_empty() && self.refresh_facts() {
            // Few objects carry addresses and readiness: look at all of them, write those that differ.
            statuses.extend(self.routing.verdicts(ObjectKind::Gateway));
            statuses.extend(self.routing.verdicts(ObjectKind::Ingress));
        }
        route_status::write(&statuses, &self.routing, &self.facts, &self.writer);
    }

    fn refresh_facts(&mut self) -> bool {
        let mut facts = route_status::Facts::new();
        let context = self.context();
        for state in self.fleets.values() {
            state.gateway_facts(&context, &mut facts);
        }
        let differs = facts != self.facts;
        self.facts = facts;
        differs
    }

    fn settle_cluster(&mut self, key: &ClusterKey) {
        let cluster = self.clusters.get(key).cloned();
        if let Some(handle) = self.registry.update(key, cluster.as_deref(), &self.secrets) {
            self.follow_facts(key.clone(), handle);
        }
        let Some(cluster) = cluster else { return };
        let facts = self.registry.facts(key);
        let status =
            cluster_status(&cluster, facts.as_ref(), self.registry.twin(key).as_ref(), Timestamp::now());
        if cluster.status.as_ref() != Some(&status) {
            let mut written = cluster.as_ref().clone();
            written.status = Some(status);
            self.writer.status(written);
        }
    }

    /// Tells the loop when something about a cluster changed.
    fn follow_facts(&self, key: ClusterKey, handle: ClusterHandle) {
        let contacts = self.contacts.clone();
        let mut facts = handle.facts();
        // Holds the facts alone: the actor must end when the registry lets go of it.
        drop(handle);
        tokio::spawn(async move {
            while facts.changed().await.is_ok() {
                facts.mark_unchanged();
                if contacts.send(key.clone()).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
