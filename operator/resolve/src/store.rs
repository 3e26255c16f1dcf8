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
use operator_ir::{ObjectKind, ObjectRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The applied objects by name.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) fleets: BTreeMap<ObjectRef, Arc<FleetFacts>>,
    pub(crate) classes: BTreeMap<String, Arc<GatewayClass>>,
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
}

impl Effect {
    fn fact(fact: Fact) -> Self {
        Self { node: None, facts: vec![fact] }
    }

    fn node(object: ObjectRef) -> Self {
        Self { node: Some(object), facts: Vec::new() }
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
                if options.fleet.as_ref().is_some_and(|only| *only != key)
                    || self.fleets.get(&key).is_some_and(|old| **old == facts)
                {
                    return Effect::default();
                }
                self.fleets.insert(key.clone(), Arc::new(facts));
                Effect { node: Some(key), facts: vec![Fact::Fleets] }
            }
            Object::GatewayClass(class) => {
                let name = class.metadata.name.clone().unwrap_or_default();
                let same = |old: &Arc<GatewayClass>| {
                    old.spec == class.spec && same_meta(&old.metadata, &class.metadata)
                };
                if self.classes.get(&name).is_some_and(same) {
                    return Effect::default();
                }
                self.classes.insert(name.clone(), class);
                Effect::node(ObjectRef::new(ObjectKind::GatewayClass, "", name))
            }
            Object::Gateway(gateway) => {
                let key = key_of(ObjectKind::Gateway, &gateway.metadata);
                let same = |old: &Arc<Gateway>| {
                    old.spec == gateway.spec && same_meta(&old.metadata, &gateway.metadata)
                };
                replace(&mut self.gateways, key, gateway.clone(), same)
            }
            Object::HttpRoute(route) => {
                let key = key_of(ObjectKind::HTTPRoute, &route.metadata);
                let same = |old: &Arc<HttpRoute>| {
                    old.spec == route.spec && same_meta(&old.metadata, &route.metadata)
                };
                replace(&mut self.routes, key, route.clone(), same)
            }
            Object::Ingress(ingress) => {
                let key = key_of(ObjectKind::Ingress, &ingress.metadata);
                let same = |old: &Arc<Ingress>| {
                    old.spec == ingress.spec
                        && old.metadata.annotations == ingress.metadata.annotations
                        && same_meta(&old.metadata, &ingress.metadata)
                };
                replace(&mut self.ingresses, key, ingress.clone(), same)
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
            ObjectKind::GatewayClass => self.classes.remove(&object.name).is_some(),
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
            ObjectKind::GatewayFleet => Effect { node: Some(object), facts: vec![Fact::Fleets] },
            ObjectKind::GatewayClass | ObjectKind::Gateway | ObjectKind::HTTPRoute | ObjectKind::Ingress => {
                Effect::node(object)
            }
            ObjectKind::IngressClass => ingress_class_effect(object.name),
            ObjectKind::ReferenceGrant => Effect::fact(Fact::Grants(object.namespace)),
            ObjectKind::Namespace => Effect::fact(Fact::Object(ObjectRef::new(object.kind, "", object.name))),
            ObjectKind::Service | ObjectKind::Secret => Effect::fact(Fact::Object(object)),
        }
    }
}

fn replace<T>(
    map: &mut BTreeMap<ObjectRef, Arc<T>>,
    key: ObjectRef,
    value: Arc<T>,
    same: impl FnOnce(&Arc<T>) -> bool,
) -> Effect {
    let unchanged = map.get(&key).is_some_and(same);
    // Also an unchanged object replaces the old one, so that the cache that we share it with can drop the old one.
    map.insert(key.clone(), value);
    if unchanged { Effect::default() } else { Effect::node(key) }
}

fn ingress_class_effect(name: String) -> Effect {
    let class = Fact::Object(ObjectRef::new(ObjectKind::IngressClass, "", name));
    Effect { node: None, facts: vec![class, Fact::IngressDefault] }
}

fn same_meta(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.generation == new.generation && old.creation_timestamp == new.creation_timestamp
}

fn key_of(kind: ObjectKind, meta: &ObjectMeta) -> ObjectRef {
    ObjectRef::new(kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
