// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Settling: classes, then what routes attach to, then routes, then the parts of gateways that all this touches.

use super::{Resolver, Settled};
use crate::assembly::{Assembly, ChangedParts};
use crate::fleet::resolve_own_gateway;
use crate::gateway_api::{resolve_class, resolve_gateway};
use crate::status::{FleetVerdict, GatewayVerdict, ListenerVerdict, StatusChange, StatusValue};
use crate::target::TargetOutcome;
use crate::view::{Fact, View};
use operator_ir::{GatewayId, ObjectKind, ObjectRef, VirtualHostId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is still to be done in a settlement, and what it has done.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) hosts: BTreeSet<(Arc<GatewayId>, Arc<VirtualHostId>)>,
    pub(super) listeners: BTreeSet<GatewayId>,
    fresh: BTreeSet<GatewayId>,
    /// Gateways and fleets whose verdict may differ.
    pub(super) verdicts: BTreeSet<ObjectRef>,
    parts: BTreeMap<GatewayId, ChangedParts>,
    removed: BTreeSet<GatewayId>,
    statuses: BTreeMap<ObjectRef, StatusChange>,
}

impl Resolver {
    /// Resolves everything that the changes since the last settlement touch, and nothing else.
    pub fn settle(&mut self) -> Settled {
        let reborn = std::mem::take(&mut self.dirty.reborn);
        let mut work = Work { verdicts: reborn.into_iter().filter(is_target).collect(), ..Work::default() };
        for class in std::mem::take(&mut self.dirty.classes) {
            self.settle_class(&class, &mut work);
        }
        self.settle_targets(&mut work);
        for route in std::mem::take(&mut self.dirty.routes) {
            self.settle_route(&route, &mut work);
        }
        self.assemble(&mut work);
        for owner in std::mem::take(&mut work.verdicts) {
            self.settle_verdict(owner, &mut work);
        }
        Settled {
            changed: work.parts.keys().cloned().collect(),
            removed: work.removed.into_iter().collect(),
            parts: work.parts,
            statuses: work.statuses.into_values().collect(),
        }
    }

    fn settle_class(&mut self, object: &ObjectRef, work: &mut Work) {
        let class = self.store.classes.get(object).cloned();
        let mut view = View::new(&self.options, &self.store, &self.derived);
        let resolved = class.as_ref().and_then(|class| resolve_class(class, &mut view));
        self.dependents.record(object, view.into_read());
        let generation = class.as_ref().and_then(|class| class.metadata.generation).unwrap_or_default();
        let (outcome, verdict) = resolved.unzip();
        let status = verdict.map(|verdict| (generation, StatusValue::GatewayClass(verdict)));
        self.set_status(object, status, class.is_some(), work);
        let old = self.derived.classes.get(&object.name).map(Arc::as_ref);
        if old != outcome.as_ref() {
            match outcome {
                Some(outcome) => self.derived.classes.insert(object.name.clone(), Arc::new(outcome)),
                None => self.derived.classes.remove(&object.name),
            };
            self.mark(&Fact::Class(object.name.clone()));
        }
    }

    fn mark(&mut self, fact: &Fact) {
        for reader in self.dependents.of(fact) {
            self.dirty.add(reader.clone());
        }
    }

    fn settle_targets(&mut self, work: &mut Work) {
        let mut touched = Vec::new();
        for object in std::mem::take(&mut self.dirty.targets) {
            let mut view = View::new(&self.options, &self.store, &self.derived);
            let outcome = match object.kind {
                ObjectKind::GatewayFleet => {
                    self.store.fleets.get(&object).map(|fleet| resolve_own_gateway(fleet, &mut view))
                }
                _ => self.store.gateways.get(&object).and_then(|gateway| resolve_gateway(gateway, &mut view)),
            };
            self.dependents.record(&object, view.into_read());
            if self.targets.get(&object) != outcome.as_ref() {
                touched.push((object, outcome));
            }
        }
        // A name may go from one owner to another in one settlement, so all leave before any comes.
        for (object, outcome) in &touched {
            let stays = outcome.as_ref().filter(|outcome| outcome.target.active);
            let old = self
                .targets
                .get(object)
                .filter(|old| old.target.active)
                .map(|old| old.target.gateway.as_ref().clone());
            if let Some(old) = old
                && stays.is_none()
                && self.gateways.get(&old).is_some_and(|assembly| assembly.owner == *object)
            {
                self.remove_gateway(old, work);
            }
        }
        for (object, outcome) in touched {
            self.replace_target(object, outcome, work);
        }
    }

    fn remove_gateway(&mut self, gateway: GatewayId, work: &mut Work) {
        if let Some(assembly) = self.gateways.remove(&gateway) {
            // Kept for the case that another owner takes the name: then its parts are changed, not gone.
            work.parts.insert(gateway.clone(), assembly.all_parts());
            work.removed.insert(gateway);
        }
    }

    fn replace_target(&mut self, object: ObjectRef, outcome: Option<TargetOutcome>, work: &mut Work) {
        work.verdicts.insert(object.clone());
        let target = outcome.as_ref().map(|outcome| outcome.target.clone());
        if self.derived.targets.get(&object) != target.as_ref() {
            match &target {
                Some(target) => self.derived.targets.insert(object.clone(), target.clone()),
                None => self.derived.targets.remove(&object),
            };
            self.mark(&Fact::Target(object.clone()));
        }
        let Some(outcome) = outcome else {
            self.targets.remove(&object);
            return;
        };
        if outcome.target.active {
            let id = outcome.target.gateway.as_ref().clone();
            let assembly = self.gateways.entry(id.clone()).or_insert_with(|| {
                work.fresh.insert(id.clone());
                Assembly::new(&outcome)
            });
            let hosts = assembly.partition(&outcome.target);
            let gateway = &outcome.target.gateway;
            work.hosts.extend(hosts.into_iter().map(|host| (gateway.clone(), Arc::new(host))));
            work.listeners.insert(id.clone());
            work.removed.remove(&id);
            if work.fresh.contains(&id) || assembly.info != outcome.info {
                assembly.info = outcome.info.clone();
                work.parts.entry(id).or_default();
            }
        }
        self.targets.insert(object, outcome);
    }

    fn assemble(&mut self, work: &mut Work) {
        for (gateway, host) in std::mem::take(&mut work.hosts) {
            if let Some(assembly) = self.gateways.get_mut(gateway.as_ref()) {
                let mut parts = ChangedParts::default();
                assembly.assemble_host(&host, &mut parts);
                work.note(gateway.as_ref().clone(), parts);
            }
        }
        for gateway in std::mem::take(&mut work.listeners) {
            if let Some(assembly) = self.gateways.get_mut(&gateway)
                && let Some(outcome) = self.targets.get(&assembly.owner)
            {
                let mut parts = ChangedParts::default();
                assembly.assemble_listeners(outcome, &mut parts);
                work.note(gateway, parts);
            }
        }
        for gateway in &work.removed {
            work.parts.remove(gateway);
        }
    }

    /// The verdict on a Gateway or fleet, with the routes counted.
    fn settle_verdict(&mut self, object: ObjectRef, work: &mut Work) {
        let status = self.targets.get(&object).map(|outcome| {
            let count = |listener: &ListenerVerdict| {
                let place = (outcome.target.object.clone(), Arc::from(listener.name.as_str()));
                let attached_routes = self.attached.get(&place).copied().unwrap_or_default();
                ListenerVerdict { attached_routes, ..listener.clone() }
            };
            let listeners = outcome.listeners.iter().map(count).collect();
            let value = match object.kind {
                ObjectKind::GatewayFleet => {
                    StatusValue::Fleet(FleetVerdict { listeners, problems: outcome.problems.clone() })
                }
                _ => StatusValue::Gateway(GatewayVerdict {
                    gateway: outcome.target.active.then(|| outcome.target.gateway.as_ref().clone()),
                    conditions: outcome.conditions.clone(),
                    listeners,
                }),
            };
            (outcome.generation, value)
        });
        let exists = match object.kind {
            ObjectKind::GatewayFleet => self.store.fleets.contains_key(&object),
            _ => self.store.gateways.contains_key(&object),
        };
        self.set_status(&object, status, exists, work);
    }

    /// Notes a verdict where it differs. One that is taken back is told only while the object is there to be written.
    pub(super) fn set_status(
        &mut self,
        object: &ObjectRef,
        new: Option<(i64, StatusValue)>,
        exists: bool,
        work: &mut Work,
    ) {
        if self.statuses.get(object) == new.as_ref() {
            return;
        }
        let old_generation =
            self.statuses.remove(object).map(|(generation, _)| generation).unwrap_or_default();
        let (generation, status) = match new {
            Some((generation, status)) => {
                self.statuses.insert(object.clone(), (generation, status.clone()));
                (generation, Some(status))
            }
            None if !exists => return,
            None => (old_generation, None),
        };
        work.statuses.insert(object.clone(), StatusChange { object: object.clone(), generation, status });
    }
}

fn is_target(object: &ObjectRef) -> bool {
    matches!(object.kind, ObjectKind::Gateway | ObjectKind::GatewayFleet)
}

impl Work {
    fn note(&mut self, gateway: GatewayId, parts: ChangedParts) {
        if parts == ChangedParts::default() {
            return;
        }
        let ChangedParts { listeners, virtual_hosts, backends, plugins } = parts;
        let noted = self.parts.entry(gateway).or_default();
        noted.listeners.extend(listeners);
        noted.virtual_hosts.extend(virtual_hosts);
        noted.backends.extend(backends);
        noted.plugins.extend(plugins);
    }
}
