// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Reading with a memory: whatever a resolution looks at becomes a dependency of its result.

use crate::ResolverOptions;
use crate::facts::{GrantFacts, IngressClassFacts, Labels, Lookup, ServiceFacts};
use crate::fleet::FleetFacts;
use crate::gateway_api::ClassOutcome;
use crate::store::Store;
use crate::target::Target;
use operator_ir::{ObjectKind, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something that a resolution read, present or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// A Service, Secret, Namespace or IngressClass.
    Object(ObjectRef),
    /// The ReferenceGrants of a namespace.
    Grants(String),
    /// The outcome of a GatewayClass.
    Class(String),
    /// What a Gateway or fleet offers to routes.
    Target(ObjectRef),
    /// The fleets.
    Fleets,
    /// Which IngressClass is the default.
    IngressDefault,
}

/// What earlier steps of a settlement found, for the later ones.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    pub(crate) classes: BTreeMap<String, Arc<ClassOutcome>>,
    pub(crate) targets: BTreeMap<ObjectRef, Arc<Target>>,
}

/// The world as one resolution sees it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) options: &'a ResolverOptions,
    store: &'a Store,
    derived: &'a Derived,
    read: BTreeSet<Fact>,
}

impl<'a> View<'a> {
    pub(crate) fn new(options: &'a ResolverOptions, store: &'a Store, derived: &'a Derived) -> Self {
        Self { options, store, derived, read: BTreeSet::new() }
    }

    /// Everything that was read.
    pub(crate) fn into_read(self) -> BTreeSet<Fact> {
        self.read
    }

    pub(crate) fn fleets(&mut self) -> impl Iterator<Item = &'a Arc<FleetFacts>> + use<'a> {
        self.read.insert(Fact::Fleets);
        self.store.fleets.values()
    }

    pub(crate) fn fleet(&mut self, fleet: &ObjectRef) -> Option<&'a Arc<FleetFacts>> {
        self.read.insert(Fact::Fleets);
        self.store.fleets.get(fleet)
    }

    pub(crate) fn class(&mut self, name: &str) -> Option<&'a Arc<ClassOutcome>> {
        self.read.insert(Fact::Class(name.to_owned()));
        self.derived.classes.get(name)
    }

    pub(crate) fn target(&mut self, object: &ObjectRef) -> Option<&'a Arc<Target>> {
        self.read.insert(Fact::Target(object.clone()));
        self.derived.targets.get(object)
    }

    /// Labels of a namespace. One that is not seen has the label that each namespace has.
    pub(crate) fn namespace_labels(&mut self, name: &str) -> std::borrow::Cow<'a, Labels> {
        self.read.insert(Fact::Object(ObjectRef::new(ObjectKind::Namespace, "", name)));
        match self.store.namespaces.get(name) {
            Some(labels) => std::borrow::Cow::Borrowed(labels),
            None => std::borrow::Cow::Owned(Labels::from([(
                "kubernetes.io/metadata.name".to_owned(),
                name.to_owned(),
            )])),
        }
    }

    pub(crate) fn grants(&mut self, namespace: &str) -> impl Iterator<Item = &'a GrantFacts> + use<'a> {
        self.read.insert(Fact::Grants(namespace.to_owned()));
        self.store.grants.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn service(&mut self, namespace: &str, name: &str) -> Lookup<&'a ServiceFacts> {
        let key = ObjectRef::new(ObjectKind::Service, namespace, name);
        let service = self.store.services.get(&key);
        self.read.insert(Fact::Object(key));
        known(service, self.options.services_known)
    }

    /// Why a Secret is no certificate, if it is none.
    pub(crate) fn secret(&mut self, namespace: &str, name: &str) -> Lookup<Option<&'a str>> {
        let key = ObjectRef::new(ObjectKind::Secret, namespace, name);
        let secret = self.store.secrets.get(&key).map(Option::as_deref);
        self.read.insert(Fact::Object(key));
        known(secret, self.options.secrets_known)
    }

    pub(crate) fn ingress_class(&mut self, name: &str) -> Option<&'a IngressClassFacts> {
        self.read.insert(Fact::Object(ObjectRef::new(ObjectKind::IngressClass, "", name)));
        self.store.ingress_classes.get(name)
    }

    /// The IngressClass of Ingresses that name none: the first that is marked as default.
    pub(crate) fn default_ingress_class(&mut self) -> Option<(&'a str, &'a IngressClassFacts)> {
        self.read.insert(Fact::IngressDefault);
        let mut classes = self.store.ingress_classes.iter();
        classes.find(|(_, class)| class.is_default).map(|(name, class)| (name.as_str(), class))
    }
}

/// An object that is there counts even where the rest of its kind is unknown.
fn known<T>(found: Option<T>, kind_known: bool) -> Lookup<T> {
    match found {
        Some(found) => Lookup::Present(found),
        None if kind_known => Lookup::Absent,
        None => Lookup::Unknown,
    }
}
