// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Objects before and after they were applied.

use crate::GatewayWorkload;
use kube_core::DynamicObject;
use std::marker::PhantomData;

/// State of [`Resources`]: built, not yet in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared;

/// State of [`Resources`]: the cluster accepted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied;

/// One object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The object for server-side apply with the field manager [`crds::FIELD_MANAGER`].
    pub object: DynamicObject,
    /// Number of replicas with which a missing Deployment is created, by the field manager
    /// [`crds::FIELD_MANAGER_INIT`]. Only where an HPA owns the number; `object` then carries none.
    pub initial_replicas: Option<i32>,
}

/// The objects of one fleet in one cluster, in the order in which they were built.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources<State> {
    objects: Vec<Object>,
    gateways: Vec<GatewayWorkload>,
    state: PhantomData<State>,
}

impl Resources<Prepared> {
    pub(crate) fn prepared(objects: Vec<Object>, gateways: Vec<GatewayWorkload>) -> Self {
        Self { objects, gateways, state: PhantomData }
    }

    /// Records that the cluster accepted all of them.
    #[must_use]
    pub fn into_applied(self) -> Resources<Applied> {
        Resources { objects: self.objects, gateways: self.gateways, state: PhantomData }
    }
}

impl<State> Resources<State> {
    /// The objects.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The gateways that they are made for.
    #[must_use]
    pub fn gateways(&self) -> &[GatewayWorkload] {
        &self.gateways
    }

    /// The object of that kind, namespace and name.
    #[must_use]
    pub fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<&DynamicObject> {
        self.objects.iter().map(|object| &object.object).find(|object| {
            kind_of(object) == kind
                && object.metadata.namespace.as_deref().unwrap_or_default() == namespace
                && object.metadata.name.as_deref() == Some(name)
        })
    }
}

/// Kind of an object.
pub(crate) fn kind_of(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// `<kind> <namespace>/<name>`, for messages.
pub(crate) fn label_of(object: &DynamicObject) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match object.metadata.namespace.as_deref() {
        Some(namespace) => format!("{} {namespace}/{name}", kind_of(object)),
        None => format!("{} {name}", kind_of(object)),
    }
}

impl Object {
    /// Kind of the object.
    #[must_use]
    pub fn kind(&self) -> &str {
        kind_of(&self.object)
    }

    /// `<kind> <namespace>/<name>`, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        label_of(&self.object)
    }
}
