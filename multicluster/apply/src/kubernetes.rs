// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The backend that writes to an API server.

mod anchor;
mod apply;
mod call;
mod drift;
mod pin;
mod prune;
mod workload;

pub use pin::{
    MemberPin, ensure_member_kind, own_namespace, read_member, remove_pin, watch_member, write_pin,
};

use crate::observe::{Seen, is_settled, observed};
use crate::{
    Applied, ApplyError, Backend, Change, Desired, Fence, Inventory, MemberKey, ObjectKey, Observed, Outcome,
};
use anchor::Anchor;
use async_trait::async_trait;
use call::Caller;
use drift::Fingerprints;
use futures::stream::BoxStream;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;

/// Most pods that are read to explain why a workload is not ready.
const POD_LIMIT: u32 = 100;

/// One fleet in one cluster, over its API server.
#[derive(Clone, Debug)]
pub struct KubernetesBackend {
    caller: Caller,
    member: MemberKey,
    namespace: String,
    fingerprints: Arc<Fingerprints>,
}

impl KubernetesBackend {
    /// For `member`, whose objects live in `namespace`. Every call ends within `timeout`.
    #[must_use]
    pub fn new(client: Client, member: MemberKey, namespace: String, timeout: Duration) -> Self {
        Self { caller: Caller::new(client, timeout), member, namespace, fingerprints: Arc::default() }
    }

    /// Selects what we manage for this member.
    fn selector(&self) -> String {
        selector(&self.member)
    }
}

/// Selects everything that we manage for a member.
pub(crate) fn selector(member: &MemberKey) -> String {
    format!(
        "{}={},{}={},{}={}",
        crds::LABEL_MANAGED_BY,
        crds::MANAGED_BY,
        crds::LABEL_FLEET,
        member.fleet,
        crds::LABEL_FLEET_NAMESPACE,
        member.fleet_namespace
    )
}

#[async_trait]
impl Backend for KubernetesBackend {
    async fn apply(&self, desired: &Desired) -> Result<Applied, ApplyError> {
        let mut objects = apply::ordered(&desired.resources);
        workload::own_namespace(&self.caller, &self.namespace).await?;
        let anchor = Anchor::claim(&self.caller, &self.member, &self.namespace, &desired.fence).await?;
        let wanted = Inventory(objects.iter().map(|object| ObjectKey::of(&object.object)).collect());
        // First the inventory of both, so that nothing that we are about to write can be lost sight of.
        let known = Inventory(anchor.inventory.0.union(&wanted.0).cloned().collect());
        let anchor = anchor.record(&self.caller, &known).await?;
        let mut applied = Applied::default();
        for object in &mut objects {
            let key = ObjectKey::of(&object.object);
            let step = apply::Step { caller: &self.caller, member: &self.member, drift: &desired.drift };
            let outcome = step.apply(&mut object.object, object.initial_replicas, &self.fingerprints).await?;
            if let Outcome::Conflict(text) | Outcome::Failed(text) = &outcome {
                tracing::warn!(cluster = %self.member.cluster, object = %key, problem = %text, "not applied");
            }
            applied.objects.push((key, outcome));
        }
        applied.pruned = prune::prune(&self.caller, &self.member, &known.surplus(&wanted)).await?;
        applied.inventory =
            Inventory(known.0.iter().filter(|key| !applied.pruned.contains(key)).cloned().collect());
        anchor.record(&self.caller, &applied.inventory).await?;
        Ok(applied)
    }

    async fn observe(&self) -> Result<Observed, ApplyError> {
        let labels = ListParams::default().labels(&self.selector());
        let client = self.caller.client();
        let deployments: Api<Deployment> = Api::all(client.clone());
        let services: Api<Service> = Api::all(client.clone());
        let pods: Api<Pod> = Api::all(client.clone());
        let deployments = self.caller.run("list Deployments", deployments.list(&labels)).await?.items;
        let services = self.caller.run("list Services", services.list(&labels)).await?.items;
        // Pods are read only to say why something is not ready.
        let pods = if deployments.iter().all(is_settled) {
            Vec::new()
        } else {
            self.caller.run("list Pods", pods.list(&labels.limit(POD_LIMIT))).await?.items
        };
        Ok(observed(&Seen { deployments, services, pods }))
    }

    async fn delete_all(&self, fence: &Fence) -> Result<bool, ApplyError> {
        let Some(anchor) = Anchor::read(&self.caller, &self.member, &self.namespace).await? else {
            return Ok(true);
        };
        let anchor = anchor.take(&self.caller, fence).await?;
        let surplus = anchor.inventory.surplus(&Inventory::default());
        let gone = prune::prune(&self.caller, &self.member, &surplus).await?;
        if gone.len() < surplus.len() {
            return Ok(false);
        }
        anchor.remove(&self.caller).await?;
        Ok(true)
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        drift::changes(self.caller.client().clone(), &self.selector(), &self.fingerprints)
    }
}
