// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The way to a member: its backend, what it tells, and the calls beside workloads.

use super::{CALL_LIMIT, RelayIdentity};
use crds::FleetMember;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use multicluster_apply::{
    ApplyError, Backend, Change, HostBackend, KubernetesBackend, MemberKey, MemberPin, ensure_member_kind,
    own_namespace, remove_pin, watch_member, write_pin,
};
use multicluster_clusters::ClusterHandle;
use std::sync::Arc;

/// A backend with its events. Of one client: another client is another link. Streams cannot be shared between threads, so
/// every method takes it whole.
pub(super) struct Link {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) changes: BoxStream<'static, Change>,
    pub(super) members: BoxStream<'static, Option<FleetMember>>,
    api: Option<Remote>,
}

struct Remote {
    client: Client,
    handle: ClusterHandle,
    generation: u64,
}

impl Link {
    pub(super) fn host(backend: Arc<HostBackend>) -> Self {
        let changes = backend.changes();
        Self { backend, changes, members: stream::pending().boxed(), api: None }
    }

    pub(super) fn api(
        client: Client,
        member: &MemberKey,
        namespace: &str,
        handle: ClusterHandle,
        generation: u64,
    ) -> Self {
        let backend =
            KubernetesBackend::new(client.clone(), member.clone(), namespace.to_owned(), CALL_LIMIT);
        let changes = backend.changes();
        let members = watch_member(client.clone(), member, namespace);
        Self {
            backend: Arc::new(backend),
            changes,
            members,
            api: Some(Remote { client, handle, generation }),
        }
    }

    /// Resolves once another client took over, or the cluster is known not to answer.
    pub(super) fn stale(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let remote = self.api.as_ref().map(|remote| (remote.generation, remote.handle.facts()));
        async move {
            let Some((generation, mut facts)) = remote else { return std::future::pending().await };
            let gone = facts.wait_for(|f| f.client_generation != generation || !f.reach.is_reachable()).await;
            drop(gone);
        }
    }

    /// A call did not get through.
    pub(super) fn failed(&mut self) {
        if let Some(remote) = &self.api {
            remote.handle.probe_now();
        }
    }

    /// What must be there before workloads: the namespace, the kind FleetMember, the relay's identity.
    pub(super) async fn prepare(
        &mut self,
        member: &MemberKey,
        namespace: &str,
        identity: Option<&RelayIdentity>,
    ) -> Result<(), ApplyError> {
        let Some(remote) = &self.api else { return Ok(()) };
        own_namespace(&remote.client, namespace, CALL_LIMIT).await?;
        ensure_member_kind(&remote.client, CALL_LIMIT).await?;
        let Some(RelayIdentity { secret: name, data }) = identity else { return Ok(()) };
        let labels = [
            (crds::LABEL_MANAGED_BY, crds::MANAGED_BY),
            (crds::LABEL_COMPONENT, "identity"),
            (crds::LABEL_FLEET, &member.fleet),
            (crds::LABEL_FLEET_NAMESPACE, &member.fleet_namespace),
            (crds::LABEL_CLUSTER, &member.cluster),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
                ..ObjectMeta::default()
            },
            type_: Some("gatefleet.dev/relay-identity".to_owned()),
            data: Some(data.iter().map(|(key, bytes)| (key.clone(), ByteString(bytes.clone()))).collect()),
            ..Secret::default()
        };
        let api: Api<Secret> = Api::namespaced(remote.client.clone(), namespace);
        let params = PatchParams::apply(crds::FIELD_MANAGER).force();
        let patch = Patch::Apply(&secret);
        let write = api.patch(name, &params, &patch);
        const WHAT: &str = "write the relay's identity";
        match tokio::time::timeout(CALL_LIMIT, write).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(ApplyError::Refused { what: WHAT, source: Box::new(source) }),
            Err(_) => Err(ApplyError::Unavailable { what: WHAT, source: None }),
        }
    }

    pub(super) async fn pin(&mut self, pin: &MemberPin) -> Result<(), ApplyError> {
        match &self.api {
            Some(remote) => write_pin(&remote.client, pin, CALL_LIMIT).await,
            None => Ok(()),
        }
    }

    /// Removes what is no workload.
    pub(super) async fn remove(&mut self, member: &MemberKey, namespace: &str) -> Result<(), ApplyError> {
        let Some(remote) = &self.api else { return Ok(()) };
        remove_pin(&remote.client, member, namespace, CALL_LIMIT).await?;
        let api: Api<Secret> = Api::namespaced(remote.client.clone(), namespace);
        let name = multicluster_manifests::relay_identity_secret(&member.fleet);
        const WHAT: &str = "remove the relay's identity";
        match tokio::time::timeout(CALL_LIMIT, api.delete(&name, &Default::default())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Ok(Err(source)) => Err(ApplyError::Refused { what: WHAT, source: Box::new(source) }),
            Err(_) => Err(ApplyError::Unavailable { what: WHAT, source: None }),
        }
    }
}
