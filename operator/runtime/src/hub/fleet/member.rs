// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A member as the controller knows it.

use super::FleetState;
use crate::hub::controller::Context;
use crate::hub::member::{MemberReport, Order, WorkerHandle};
use crate::hub::options::RelayEndpoint;
use crate::hub::status::MemberView;
use crate::hub::{ClusterKey, FleetKey};
use crate::pin::PinSender;
use crds::conditions::Reason;
use crds::{
    ClusterMode, FleetCluster, FleetMember, FleetMemberSpec, GatewayFleet, HostSpec, MemberPhase, MemberState,
};
use jiff::Timestamp;
use multicluster_apply::{Desired, MemberKey, MemberPin};
use multicluster_clusters::Facts;
use multicluster_manifests::{GatewayWorkload, RelayPlacement};
use multicluster_rollout as rollout;
use operator_identity::AuthorityPem;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotation of a FleetMember: since when its cluster is no longer selected.
const LEAVING_SINCE: &str = "gatefleet.dev/leaving-since";

/// One cluster of the fleet.
#[derive(Default)]
pub(in crate::hub) struct Member {
    pub(in crate::hub) cluster: Option<ClusterKey>,
    /// The FleetMember on the hub, as last seen.
    pub(in crate::hub) object: Option<Arc<FleetMember>>,
    pub(in crate::hub) state: MemberState,
    pub(in crate::hub) leaving_since: Option<Timestamp>,
    pub(in crate::hub) pinned: Option<String>,
    pub(in crate::hub) pinned_since: Option<Timestamp>,
    pub(in crate::hub) passed: Option<String>,
    pub(in crate::hub) last_good: Option<String>,
    pub(in crate::hub) last_ack: Option<Timestamp>,
    pub(in crate::hub) acked_before: usize,
    pub(in crate::hub) wave: Option<String>,
    pub(in crate::hub) phase: Option<MemberPhase>,
    pub(in crate::hub) authority: Option<AuthorityPem>,
    pub(in crate::hub) report: MemberReport,
    /// Why there is no order.
    pub(in crate::hub) obstacle: Option<(Reason, String)>,
    // What was given to the worker.
    pub(in crate::hub) worker: Option<WorkerHandle>,
    pub(in crate::hub) ordered: Order,
    pub(in crate::hub) workload: Option<(WorkloadKey, Arc<Desired>)>,
    pub(in crate::hub) pin: Option<Arc<MemberPin>>,
    pub(in crate::hub) relay: Option<InProcessRelay>,
    /// How the cluster is run, as of the start of the worker.
    pub(in crate::hub) mode: ClusterMode,
    pub(in crate::hub) host: Option<HostSpec>,
    pub(in crate::hub) facts: Option<Facts>,
}

/// A relay of this process.
pub(in crate::hub) struct InProcessRelay {
    pub(in crate::hub) endpoint: RelayEndpoint,
    pub(in crate::hub) pins: PinSender,
    /// What it was started with.
    pub(in crate::hub) identity: (AuthorityPem, String),
}

/// What decides how workloads look; equal keys need no new objects.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::hub) struct WorkloadKey {
    /// Name of the revision's template digest.
    pub(in crate::hub) template: String,
    pub(in crate::hub) workloads: Vec<GatewayWorkload>,
    pub(in crate::hub) labels: BTreeMap<String, String>,
    pub(in crate::hub) relay: RelayPlacement,
    pub(in crate::hub) trust_bundle: String,
    pub(in crate::hub) drift: crds::gateway_fleet::Drift,
}

impl Member {
    /// A member that an object tells of.
    pub(in crate::hub) fn of_object(object: &Arc<FleetMember>) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        Self {
            object: Some(Arc::clone(object)),
            state: object.spec.state,
            pinned: object.spec.revision.clone(),
            // Since when is not known; the clock of progressDeadline starts anew.
            pinned_since: object.spec.revision.as_ref().map(|_| Timestamp::now()),
            passed: status.passed_revision,
            last_good: status.last_good_revision,
            last_ack: status.soak_start_time.map(|time| time.0),
            phase: status.phase,
            wave: status.wave,
            leaving_since: annotations.get(LEAVING_SINCE).and_then(|text| text.parse().ok()),
            ..Self::default()
        }
    }

    /// Takes a report; `corrected` is told of objects that were set back since the last one.
    pub(in crate::hub) fn take(
        &mut self,
        report: MemberReport,
        hash: Option<&str>,
        corrected: impl Fn(&[String]),
    ) {
        // Only of what the member is pinned to: the first look at another revision begins at 0.
        let count = hash.and_then(|hash| report.config_of(hash)).map_or(0, |config| config.counts.acked);
        if count > self.acked_before {
            self.last_ack = Some(Timestamp::now());
        }
        self.acked_before = count;
        let fresh = match (&self.report.applied, &report.applied) {
            (Some(old), Some(new)) => {
                !Arc::ptr_eq(&old.desired, &new.desired) || old.corrected != new.corrected
            }
            (None, Some(_)) => true,
            _ => false,
        };
        if let Some(applied) = report.applied.as_ref().filter(|a| fresh && !a.corrected.is_empty()) {
            corrected(&applied.corrected);
        }
        self.report = report;
    }

    /// Whether the rollout counts on it.
    pub(in crate::hub) fn is_active(&self) -> bool {
        self.state == MemberState::Active && self.leaving_since.is_none() && self.cluster.is_some()
    }

    /// As the rollout sees it.
    pub(in crate::hub) fn planned(&self, name: &str, context: &Context<'_>) -> rollout::Member {
        let cluster = self.fleet_cluster(context);
        rollout::Member {
            cluster: name.to_owned(),
            labels: cluster.and_then(|c| c.metadata.labels.clone()).unwrap_or_default(),
            pinned: self.pinned.clone(),
            passed: self.passed.clone(),
            last_good: self.last_good.clone(),
            phase: self.phase,
            paused: cluster.is_some_and(|c| c.spec.paused),
        }
    }

    pub(in crate::hub) fn fleet_cluster<'a>(
        &self,
        context: &'a Context<'_>,
    ) -> Option<&'a Arc<FleetCluster>> {
        self.cluster.as_ref().and_then(|key| context.clusters.get(key))
    }

    /// The FleetMember on the hub.
    pub(in crate::hub) fn object(
        &self,
        fleet: &FleetKey,
        cluster: &str,
        config_version: Option<String>,
    ) -> FleetMember {
        let spec = FleetMemberSpec {
            fleet: fleet.name.clone(),
            fleet_namespace: fleet.namespace.clone(),
            cluster: cluster.to_owned(),
            revision: self.pinned.clone(),
            config_version,
            state: if self.leaving_since.is_some() && self.state == MemberState::Active {
                MemberState::Draining
            } else {
                self.state
            },
        };
        let mut object = FleetMember::new(&format!("{}-{cluster}", fleet.name), spec);
        object.metadata.namespace = Some(fleet.namespace.clone());
        let labels = [
            (crds::LABEL_MANAGED_BY, crds::MANAGED_BY),
            (crds::LABEL_COMPONENT, "member"),
            (crds::LABEL_FLEET, &fleet.name),
            (crds::LABEL_FLEET_NAMESPACE, &fleet.namespace),
            (crds::LABEL_CLUSTER, cluster),
        ];
        object.metadata.labels =
            Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        if let Some(since) = self.leaving_since {
            object.metadata.annotations =
                Some(BTreeMap::from([(LEAVING_SINCE.to_owned(), since.to_string())]));
        }
        object
    }

    /// In the hub's own cluster, with the workloads in the fleet's namespace, the pin and this object are one: the worker
    /// writes it.
    pub(in crate::hub) fn is_written_by_worker(
        &self,
        key: &FleetKey,
        fleet: &GatewayFleet,
        context: &Context<'_>,
    ) -> bool {
        let local = self.fleet_cluster(context).is_some_and(|cluster| cluster.spec.local);
        local && fleet.target_namespace() == key.namespace && self.is_active()
    }

    pub(in crate::hub) fn key(&self, fleet: &FleetKey, cluster: &str) -> MemberKey {
        MemberKey {
            fleet_namespace: fleet.namespace.clone(),
            fleet: fleet.name.clone(),
            cluster: cluster.to_owned(),
        }
    }
}

impl FleetState {
    /// A member with what is known of it.
    pub(in crate::hub) fn view<'a>(&'a self, member: &'a Member, _: &'a Context<'_>) -> MemberView<'a> {
        let release = self.release_named(member.pinned.as_deref());
        MemberView {
            mode: member.mode,
            host: member.host.as_ref(),
            cluster: member.facts.as_ref(),
            report: &member.report,
            desired: member.workload.as_ref().map(|(_, desired)| desired),
            workloads: release.and_then(|r| r.config.as_ref()).map(|config| config.workloads.as_slice()),
            revision: member.pinned.as_deref(),
            config_version: release.map(|r| r.config_version.as_str()),
            config_hash: release.map(|r| r.hash.as_str()),
            wave: member.wave.as_deref(),
            phase: member.phase,
            passed: member.passed.as_deref(),
            last_good: member.last_good.as_deref(),
            pinned_since: member.pinned_since,
            last_ack: member.last_ack,
            obstacle: member.obstacle.as_ref(),
        }
    }
}
