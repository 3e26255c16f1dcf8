// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Everything that the hub watches, as one stream of inputs.

use super::{ClusterKey, FleetKey};
use crate::objects::{Kind, ObjectEvent, Objects, Scope};
use crds::gateway_api::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use crds::{FleetCluster, FleetMember, FleetRevision, GatewayFleet};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt as _;
use operator_ir::{ObjectKind, ObjectRef};
use operator_resolve::{Change, Object, SecretFacts};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Inputs that wait; a source that is faster waits itself.
const QUEUE: usize = 8192;

/// What is watched. Until a source is listed, what it lacks means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Fleets,
    Clusters,
    Members,
    Revisions,
    Credentials,
    Certificates,
    Classes,
    Gateways,
    Routes,
    Grants,
    Namespaces,
    Services,
    Ingresses,
    IngressClasses,
}

/// All of them.
pub(super) const SOURCES: [Source; 14] = [
    Source::Fleets,
    Source::Clusters,
    Source::Members,
    Source::Revisions,
    Source::Credentials,
    Source::Certificates,
    Source::Classes,
    Source::Gateways,
    Source::Routes,
    Source::Grants,
    Source::Namespaces,
    Source::Services,
    Source::Ingresses,
    Source::IngressClasses,
];

/// One thing that happened.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Fleet(FleetKey, Option<Arc<GatewayFleet>>),
    Cluster(ClusterKey, Option<Arc<FleetCluster>>),
    Member((String, String), Option<Arc<FleetMember>>),
    Revision((String, String), Option<Arc<FleetRevision>>),
    Secret((String, String), Option<Arc<Secret>>),
    Routing(Change),
    /// Everything of the source was told once.
    Listed(Source),
    /// The source cannot be read now.
    Failed(Source, String),
}

/// Follows everything until the guard is dropped.
pub(super) fn follow(objects: &Objects) -> (mpsc::Receiver<Input>, DropGuard) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let follow = Follow { objects, sender, stop: stop.clone() };
    follow.own();
    follow.routing();
    (receiver, stop.drop_guard())
}

struct Follow<'a> {
    objects: &'a Objects,
    sender: mpsc::Sender<Input>,
    stop: CancellationToken,
}

impl Follow<'_> {
    fn own(&self) {
        self.kind::<GatewayFleet>(Source::Fleets, Scope::all(), |fleet, gone| {
            let key = FleetKey { namespace: fleet.namespace().unwrap_or_default(), name: fleet.name_any() };
            let fleets = Input::Fleet(key, (!gone).then(|| Arc::clone(&fleet)));
            vec![fleets, routing(ObjectKind::GatewayFleet, &fleet, gone, Object::Fleet)]
        });
        self.kind::<FleetCluster>(Source::Clusters, Scope::all(), |cluster, gone| {
            let key =
                ClusterKey { namespace: cluster.namespace().unwrap_or_default(), name: cluster.name_any() };
            vec![Input::Cluster(key, (!gone).then_some(cluster))]
        });
        self.kind::<FleetMember>(Source::Members, Scope::all(), |member, gone| {
            vec![Input::Member(place(member.as_ref()), (!gone).then_some(member))]
        });
        self.kind::<FleetRevision>(Source::Revisions, Scope::all(), |revision, gone| {
            vec![Input::Revision(place(revision.as_ref()), (!gone).then_some(revision))]
        });
        // Credentials are Opaque. Certificates are looked at and dropped, never kept with their keys.
        self.kind::<Secret>(Source::Credentials, Scope::all().fields("type=Opaque"), |secret, gone| {
            vec![Input::Secret(place(secret.as_ref()), (!gone).then_some(secret))]
        });
        self.kind::<Secret>(
            Source::Certificates,
            Scope::all().fields("type=kubernetes.io/tls"),
            |secret, gone| {
                let (namespace, name) = place(secret.as_ref());
                vec![Input::Routing(if gone {
                    Change::Delete(ObjectRef::new(ObjectKind::Secret, namespace, name))
                } else {
                    Change::Upsert(Object::Secret(Arc::new(SecretFacts::of(&secret))))
                })]
            },
        );
    }

    fn routing(&self) {
        self.routed::<GatewayClass>(Source::Classes, ObjectKind::GatewayClass, Object::GatewayClass);
        self.routed::<Gateway>(Source::Gateways, ObjectKind::Gateway, Object::Gateway);
        self.routed::<HttpRoute>(Source::Routes, ObjectKind::HTTPRoute, Object::HttpRoute);
        self.routed::<ReferenceGrant>(Source::Grants, ObjectKind::ReferenceGrant, Object::ReferenceGrant);
        self.routed::<Namespace>(Source::Namespaces, ObjectKind::Namespace, Object::Namespace);
        self.routed::<Service>(Source::Services, ObjectKind::Service, Object::Service);
        self.routed::<Ingress>(Source::Ingresses, ObjectKind::Ingress, Object::Ingress);
        self.routed::<IngressClass>(Source::IngressClasses, ObjectKind::IngressClass, Object::IngressClass);
    }

    fn routed<K: Kind>(&self, source: Source, kind: ObjectKind, wrap: fn(Arc<K>) -> Object) {
        self.kind::<K>(source, Scope::all(), move |object, gone| vec![routing(kind, &object, gone, wrap)]);
    }

    fn kind<K: Kind>(
        &self,
        source: Source,
        scope: Scope,
        inputs: impl Fn(Arc<K>, bool) -> Vec<Input> + Send + 'static,
    ) {
        let mut events = self.objects.watch::<K>(scope);
        let (sender, stop) = (self.sender.clone(), self.stop.clone());
        let work = async move {
            while let Some(event) = events.next().await {
                let inputs = match event {
                    ObjectEvent::Upsert(object) => inputs(object, false),
                    ObjectEvent::Delete(object) => inputs(object, true),
                    ObjectEvent::Listed => vec![Input::Listed(source)],
                    ObjectEvent::Failed(problem) => vec![Input::Failed(source, problem)],
                };
                for input in inputs {
                    if sender.send(input).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::spawn(stop.run_until_cancelled_owned(work));
    }
}

fn routing<K: Kind>(kind: ObjectKind, object: &Arc<K>, gone: bool, wrap: fn(Arc<K>) -> Object) -> Input {
    let (namespace, name) = place(object.as_ref());
    Input::Routing(if gone {
        Change::Delete(ObjectRef::new(kind, namespace, name))
    } else {
        Change::Upsert(wrap(Arc::clone(object)))
    })
}

fn place<K: Kind>(object: &K) -> (String, String) {
    let metadata = object.meta();
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// Whether a failure says that the kind is not installed: then there are none, which is known, not unknown.
pub(super) fn is_not_installed(problem: &str) -> bool {
    problem.contains("404") || problem.contains("could not find the requested resource")
}
