// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Everything that was applied, as far as routing needs it.

use crate::facts::{GrantFacts, IngressClassFacts, Labels, ServiceFacts};
use crate::fleet::FleetFacts;
use crate::view::Fact;
use crate::{Object, ResolverOptions, gateway_api};
use crds::gateway_api::{Gateway, GatewayClass, HttpRoute};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::Resource;
use operator_ir::{ObjectKind, ObjectRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The applied objects by name.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) fleets: BTreeMap<ObjectRef, Arc<FleetFacts>>,
    pub(crate) classes: BTreeMap<ObjectRef, Arc<GatewayClass>>,
    pub(crate) gateways: BTreeMap<ObjectRef, Arc<Gateway>>,
    pub(crate) routes: BTreeMap<ObjectRef, Arc<HttpRoute>>,
    pub(crate) ingresses: BTreeMap<ObjectRef, Arc<Ingress>>,
    pub(crate) ingress_classes: BTreeMap<String, IngressClassFacts>,
    /// By namespace, then by name.
    pub(crate) grants: BTreeMap<String, BTreeMap<String, GrantFacts>>,
    pub(crate) namespaces: BTreeMap<String, Labels>,
    pub(crate) services: BTreeMap<ObjectRef, ServiceFacts>,
    /// Why a Secret is no certificate, if it is none.
    pub(crate) secrets: BTreeMap<ObjectRef, Option<String>>,
}

/// What a change made different.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// An object whose own verdict is to be found anew.
    pub(crate) node: Option<ObjectRef>,
    /// Facts that others may have read.
    pub(crate) facts: Vec<Fact>,
    /// The object that had this name is gone, and its status with it, also if another has taken its place.
    pub(crate) gone: Option<ObjectRef>,
}

impl Effect {
    fn fact(fact: Fact) -> Self {
        Self { facts: vec![fact], ..Self::default() }
    }

    fn node(object: ObjectRef) -> Self {
        Self { node: Some(object), ..Self::default() }
    }
}

impl Store {
    /// Takes an object in. The effect is empty where nothing that routing reads is different: watches repeat objects, and
    /// our own status writes come back through them.
    pub(crate) fn upsert(&mut self, object: Object, options: &ResolverOptions) -> Effect {
        match object {
            Object::Fleet(fleet) => {
                let facts = FleetFacts::of(&fleet, options);
                let key = facts.object.clone();
                let old = self.fleets.get(&key);
                if options.fleet.as_ref().is_some_and(|only| *only != key)
                    || old.is_some_and(|old| **old == facts)
                {
                    return Effect::default();
                }
                let gone = old.filter(|old| old.uid != facts.uid).map(|old| old.object.clone());
                // Most changes of a fleet are about its workload: then only its own verdict is found anew.
                let same = old.is_some_and(|old| old.reads_like(&facts));
                self.fleets.insert(key.clone(), Arc::new(facts));
                Effect { node: Some(key), facts: if same { Vec::new() } else { vec![Fact::Fleets] }, gone }
            }
            Object::GatewayClass(class) => {
                replace(&mut self.classes, ObjectKind::GatewayClass, class, |old, new| old.spec == new.spec)
            }
            Object::Gateway(gateway) => {
                replace(&mut self.gateways, ObjectKind::Gateway, gateway, |old, new| old.spec == new.spec)
            }
            Object::HttpRoute(route) => {
                replace(&mut self.routes, ObjectKind::HTTPRoute, route, |old, new| old.spec == new.spec)
            }
            Object::Ingress(ingress) => {
                replace(&mut self.ingresses, ObjectKind::Ingress, ingress, |old, new| {
                    old.spec == new.spec && old.metadata.annotations == new.metadata.annotations
                })
            }
            other => self.upsert_facts(other),
        }
    }

    /// Objects that others refer to and that have no verdict of their own.
    fn upsert_facts(&mut self, object: Object) -> Effect {
        match object {
            Object::IngressClass(class) => {
                let name = class.metadata.name.clone().unwrap_or_default();
                let facts = IngressClassFacts::of(&class);
                if self.ingress_classes.get(&name) == Some(&facts) {
                    return Effect::default();
                }
                self.ingress_classes.insert(name.clone(), facts);
                ingress_class_effect(name)
            }
            Object::ReferenceGrant(grant) => {
                let namespace = grant.metadata.namespace.clone().unwrap_or_default();
                let name = grant.metadata.name.clone().unwrap_or_default();
                let facts = gateway_api::grant_facts(&grant);
                let grants = self.grants.entry(namespace.clone()).or_default();
                if grants.get(&name) == Some(&facts) {
                    return Effect::default();
                }
                grants.insert(name, facts);
                Effect::fact(Fact::Grants(namespace))
            }
            Object::Namespace(namespace) => {
                let name = namespace.metadata.name.clone().unwrap_or_default();
                let mut labels = namespace.metadata.labels.clone().unwrap_or_default();
                labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
                if self.namespaces.get(&name) == Some(&labels) {
                    return Effect::default();
                }
                self.namespaces.insert(name.clone(), labels);
                Effect::fact(Fact::Object(ObjectRef::new(ObjectKind::Namespace, "", name)))
            }
            Object::Service(service) => {
                let key = key_of(ObjectKind::Service, &service.metadata);
                let facts = ServiceFacts::of(&service);
                if self.services.get(&key) == Some(&facts) {
                    return Effect::default();
                }
                self.services.insert(key.clone(), facts);
                Effect::fact(Fact::Object(key))
            }
            Object::Secret(secret) => {
                if self.secrets.get(&secret.object) == Some(&secret.problem) {
                    return Effect::default();
                }
                self.secrets.insert(secret.object.clone(), secret.problem.clone());
                Effect::fact(Fact::Object(secret.object.clone()))
            }
            _ => Effect::default(),
        }
    }

    /// Lets an object go. The effect is empty where it was not there.
    pub(crate) fn delete(&mut self, object: ObjectRef) -> Effect {
        let there = match object.kind {
            ObjectKind::GatewayFleet => self.fleets.remove(&object).is_some(),
            ObjectKind::GatewayClass => self.classes.remove(&object).is_some(),
            ObjectKind::Gateway => self.gateways.remove(&object).is_some(),
            ObjectKind::HTTPRoute => self.routes.remove(&object).is_some(),
            ObjectKind::Ingress => self.ingresses.remove(&object).is_some(),
            ObjectKind::IngressClass => self.ingress_classes.remove(&object.name).is_some(),
            ObjectKind::Namespace => self.namespaces.remove(&object.name).is_some(),
            ObjectKind::Service => self.services.remove(&object).is_some(),
            ObjectKind::Secret => self.secrets.remove(&object).is_some(),
            ObjectKind::ReferenceGrant => self
                .grants
                .get_mut(&object.namespace)
                .is_some_and(|grants| grants.remove(&object.name).is_some()),
        };
        if !there {
            return Effect::default();
        }
        match object.kind {
            ObjectKind::GatewayFleet => {
                Effect { node: Some(object.clone()), facts: vec![Fact::Fleets], gone: Some(object) }
            }
            ObjectKind::GatewayClass | ObjectKind::Gateway | ObjectKind::HTTPRoute | ObjectKind::Ingress => {
                Effect { gone: Some(object.clone()), ..Effect::node(object) }
            }
            ObjectKind::IngressClass => ingress_class_effect(object.name),
            ObjectKind::ReferenceGrant => Effect::fact(Fact::Grants(object.namespace)),
            ObjectKind::Namespace => Effect::fact(Fact::Object(ObjectRef::new(object.kind, "", object.name))),
            ObjectKind::Service | ObjectKind::Secret => Effect::fact(Fact::Object(object)),
        }
    }
}

fn replace<T: Resource>(
    map: &mut BTreeMap<ObjectRef, Arc<T>>,
    kind: ObjectKind,
    new: Arc<T>,
    same: impl FnOnce(&T, &T) -> bool,
) -> Effect {
    let key = key_of(kind, new.meta());
    // Also an equal object replaces the old one, so that the cache that we share it with can drop the old one.
    let Some(old) = map.insert(key.clone(), new.clone()) else { return Effect::node(key) };
    let (old_meta, meta) = (old.meta(), new.meta());
    if old_meta.uid != meta.uid {
        return Effect { gone: Some(key.clone()), ..Effect::node(key) };
    }
    let same_meta =
        old_meta.generation == meta.generation && old_meta.creation_timestamp == meta.creation_timestamp;
    if same_meta && same(&old, &new) { Effect::default() } else { Effect::node(key) }
}

fn ingress_class_effect(name: String) -> Effect {
    let class = Fact::Object(ObjectRef::new(ObjectKind::IngressClass, "", name));
    Effect { facts: vec![class, Fact::IngressDefault], ..Effect::default() }
}

fn key_of(kind: ObjectKind, meta: &ObjectMeta) -> ObjectRef {
    ObjectRef::new(kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
