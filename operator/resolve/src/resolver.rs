// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The resolver: applied objects in, gateways and verdicts out, at a cost that follows the change.

mod routes;
mod settle;

use crate::assembly::{Assembly, ChangedParts};
use crate::dependents::Dependents;
use crate::route::{Place, SettledRoute};
use crate::status::{StatusChange, StatusValue};
use crate::store::{Effect, Store};
use crate::target::{GatewayInfo, TargetOutcome};
use crate::view::Derived;
use crate::{Change, ResolverOptions};
use operator_ir::{GatewayConfig, GatewayId, ObjectKind, ObjectRef};
use std::collections::{BTreeMap, BTreeSet};

/// Turns routing objects into gateways, step by step.
#[derive(Debug)]
pub struct Resolver {
    options: ResolverOptions,
    store: Store,
    derived: Derived,
    dependents: Dependents,
    dirty: Dirty,
    targets: BTreeMap<ObjectRef, TargetOutcome>,
    routes: BTreeMap<ObjectRef, SettledRoute>,
    /// How many routes are attached.
    attached: BTreeMap<Place, i32>,
    gateways: BTreeMap<GatewayId, Assembly>,
    statuses: BTreeMap<ObjectRef, (i64, StatusValue)>,
}

/// What a settlement made different.
#[derive(Debug, Default)]
pub struct Settled {
    /// Gateways that are new or differ, in order.
    pub changed: Vec<GatewayId>,
    /// Gateways that are gone, in order.
    pub removed: Vec<GatewayId>,
    /// For each of `changed`, the parts that differ.
    pub parts: BTreeMap<GatewayId, ChangedParts>,
    /// Verdicts that are new or differ, one for each object, in order.
    pub statuses: Vec<StatusChange>,
}

/// Objects whose verdict is to be found anew, in the order in which they depend on each other.
#[derive(Debug, Default)]
struct Dirty {
    classes: BTreeSet<ObjectRef>,
    targets: BTreeSet<ObjectRef>,
    routes: BTreeSet<ObjectRef>,
    /// Objects whose status went with a former object of their name.
    reborn: BTreeSet<ObjectRef>,
}

impl Dirty {
    fn add(&mut self, object: ObjectRef) {
        match object.kind {
            ObjectKind::GatewayClass => self.classes.insert(object),
            ObjectKind::Gateway | ObjectKind::GatewayFleet => self.targets.insert(object),
            _ => self.routes.insert(object),
        };
    }
}

impl Resolver {
    /// A resolver that knows of no object yet.
    #[must_use]
    pub fn new(options: ResolverOptions) -> Self {
        Self {
            options,
            store: Store::default(),
            derived: Derived::default(),
            dependents: Dependents::default(),
            dirty: Dirty::default(),
            targets: BTreeMap::new(),
            routes: BTreeMap::new(),
            attached: BTreeMap::new(),
            gateways: BTreeMap::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Takes a change in. Nothing is resolved before [`Resolver::settle`].
    pub fn apply(&mut self, change: Change) {
        let effect = match change {
            Change::Upsert(object) => self.store.upsert(object, &self.options),
            Change::Delete(object) => self.store.delete(object),
            Change::Known { services, secrets } => {
                self.know(services, secrets);
                Effect::default()
            }
        };
        if let Some(gone) = effect.gone {
            self.statuses.remove(&gone);
            self.dirty.reborn.insert(gone);
        }
        if let Some(node) = effect.node {
            self.dirty.add(node);
        }
        for fact in effect.facts {
            for reader in self.dependents.of(&fact) {
                self.dirty.add(reader.clone());
            }
        }
    }

    fn know(&mut self, services: bool, secrets: bool) {
        if (self.options.services_known, self.options.secrets_known) == (services, secrets) {
            return;
        }
        self.options.services_known = services;
        self.options.secrets_known = secrets;
        for object in self.targets.keys().chain(self.routes.keys()) {
            self.dirty.add(object.clone());
        }
    }

    /// The configuration of a gateway as of the last settlement.
    #[must_use]
    pub fn gateway(&self, gateway: &GatewayId) -> Option<&GatewayConfig> {
        self.gateways.get(gateway).map(|assembly| &assembly.config)
    }

    /// What the workload of a gateway is to look like, as of the last settlement.
    #[must_use]
    pub fn gateway_info(&self, gateway: &GatewayId) -> Option<&GatewayInfo> {
        self.gateways.get(gateway).map(|assembly| &assembly.info)
    }

    /// All gateways as of the last settlement, in order.
    pub fn gateways(&self) -> impl Iterator<Item = (&GatewayId, &GatewayInfo, &GatewayConfig)> {
        self.gateways.iter().map(|(id, assembly)| (id, &assembly.info, &assembly.config))
    }

    /// The verdict on an object with its generation, as of the last settlement; none where it is not ours.
    #[must_use]
    pub fn status(&self, object: &ObjectRef) -> Option<(i64, &StatusValue)> {
        self.statuses.get(object).map(|(generation, status)| (*generation, status))
    }

    /// All verdicts as of the last settlement, in order.
    pub fn statuses(&self) -> impl Iterator<Item = (&ObjectRef, i64, &StatusValue)> {
        self.statuses.iter().map(|(object, (generation, status))| (object, *generation, status))
    }
}
