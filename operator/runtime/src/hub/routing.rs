// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Routing objects to the configuration of each fleet, at a cost that follows the change. No I/O.

use super::FleetKey;
use crds::gateway_api::{Gateway, GatewayClass, HttpRoute};
use k8s_openapi::api::networking::v1::Ingress;
use multicluster_manifests::{GatewayPort, GatewayWorkload, PortProtocol, WorkloadId, WorkloadOwner};
use operator_ir::{GatewayConfig, GatewayId, ObjectKind};
use operator_resolve::{Change, GatewayInfo, Object, Resolver, ResolverOptions, StatusChange};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a fleet serves, whatever the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FleetConfig {
    /// By gateway; unchanged parts are the same allocation as before.
    pub(super) gateways: BTreeMap<GatewayId, Arc<GatewayConfig>>,
    /// The workloads of those gateways.
    pub(super) workloads: Vec<GatewayWorkload>,
}

/// What a settlement made different.
#[derive(Debug, Default)]
pub(super) struct Routed {
    pub(super) fleets: BTreeSet<FleetKey>,
    pub(super) statuses: Vec<StatusChange>,
}

/// Objects whose status we write, as they were last seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) classes: BTreeMap<String, Arc<GatewayClass>>,
    pub(super) gateways: BTreeMap<(String, String), Arc<Gateway>>,
    pub(super) routes: BTreeMap<(String, String), Arc<HttpRoute>>,
    pub(super) ingresses: BTreeMap<(String, String), Arc<Ingress>>,
}

/// The resolver with what surrounds it.
#[derive(Debug)]
pub(super) struct Routing {
    resolver: Resolver,
    configs: BTreeMap<FleetKey, Arc<FleetConfig>>,
    owners: BTreeMap<GatewayId, FleetKey>,
    /// Whether the hub's own Services and Secrets are all that any member has.
    known: bool,
    pub(super) seen: Seen,
}

impl Routing {
    pub(super) fn new() -> Self {
        let options = ResolverOptions {
            controller_name: crds::CONTROLLER_NAME.to_owned(),
            ingress_class_name: crds::DEFAULT_INGRESS_CLASS.to_owned(),
            services_known: false,
            secrets_known: false,
            ..ResolverOptions::default()
        };
        Self {
            resolver: Resolver::new(options),
            configs: BTreeMap::new(),
            owners: BTreeMap::new(),
            known: false,
            seen: Seen::default(),
        }
    }

    /// Takes a change in; nothing is resolved yet.
    pub(super) fn apply(&mut self, change: Change) {
        self.seen.apply(&change);
        self.resolver.apply(change);
    }

    /// Tells whether a Service or Secret that the hub does not see exists nowhere.
    pub(super) fn set_known(&mut self, known: bool) {
        if self.known != known {
            self.known = known;
            self.resolver.apply(Change::Known { services: known, secrets: known });
        }
    }

    /// Resolves what changed.
    pub(super) fn settle(&mut self) -> Routed {
        let settled = self.resolver.settle();
        let mut touched: BTreeMap<FleetKey, FleetConfig> = BTreeMap::new();
        for id in settled.removed.iter().chain(&settled.changed) {
            if let Some(owner) = self.owners.remove(id) {
                draft(&mut touched, &self.configs, &owner).gateways.remove(id);
            }
        }
        for id in &settled.changed {
            let (Some(config), Some(info)) = (self.resolver.gateway(id), self.resolver.gateway_info(id))
            else {
                continue;
            };
            let owner = FleetKey { namespace: info.fleet.namespace.clone(), name: info.fleet.name.clone() };
            draft(&mut touched, &self.configs, &owner).gateways.insert(id.clone(), Arc::new(config.clone()));
            self.owners.insert(id.clone(), owner);
        }
        let mut fleets = BTreeSet::new();
        for (fleet, mut config) in touched {
            let infos = config.gateways.keys().filter_map(|id| Some((id, self.resolver.gateway_info(id)?)));
            config.workloads = infos.map(|(id, info)| workload(id, info)).collect();
            if self.configs.get(&fleet).is_none_or(|before| **before != config) {
                self.configs.insert(fleet.clone(), Arc::new(config));
                fleets.insert(fleet);
            }
        }
        Routed { fleets, statuses: settled.statuses }
    }

    /// The configuration of a fleet as of the last settlement; empty where nothing is routed to it.
    pub(super) fn config(&self, fleet: &FleetKey) -> Arc<FleetConfig> {
        self.configs.get(fleet).cloned().unwrap_or_default()
    }

    /// All verdicts on objects of a kind, for a writer that has new facts.
    pub(super) fn verdicts(&self, kind: ObjectKind) -> Vec<StatusChange> {
        let all = self.resolver.statuses().filter(|(object, _, _)| object.kind == kind);
        all.map(|(object, generation, status)| StatusChange {
            object: object.clone(),
            generation,
            status: Some(status.clone()),
        })
        .collect()
    }
}

fn draft<'a>(
    touched: &'a mut BTreeMap<FleetKey, FleetConfig>,
    configs: &BTreeMap<FleetKey, Arc<FleetConfig>>,
    fleet: &FleetKey,
) -> &'a mut FleetConfig {
    touched
        .entry(fleet.clone())
        .or_insert_with(|| configs.get(fleet).map(|c| c.as_ref().clone()).unwrap_or_default())
}

fn workload(id: &GatewayId, info: &GatewayInfo) -> GatewayWorkload {
    let owner = match info.object.kind {
        ObjectKind::GatewayFleet => WorkloadOwner::Fleet,
        _ => WorkloadOwner::Gateway { name: info.object.name.clone() },
    };
    let ports = info.ports.iter().map(|port| GatewayPort { port: *port, protocol: PortProtocol::Tcp });
    let addresses = info.addresses.iter().filter(|(kind, _)| kind == "IPAddress");
    GatewayWorkload {
        id: WorkloadId { namespace: id.namespace.clone(), name: id.name.clone() },
        owner,
        ports: ports.collect(),
        labels: info.labels.clone(),
        annotations: info.annotations.clone(),
        addresses: addresses.filter_map(|(_, value)| value.clone()).collect(),
    }
}

impl Seen {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Upsert(Object::GatewayClass(class)) => {
                self.classes.insert(class.metadata.name.clone().unwrap_or_default(), Arc::clone(class));
            }
            Change::Upsert(Object::Gateway(gateway)) => {
                self.gateways.insert(place(&gateway.metadata), Arc::clone(gateway));
            }
            Change::Upsert(Object::HttpRoute(route)) => {
                self.routes.insert(place(&route.metadata), Arc::clone(route));
            }
            Change::Upsert(Object::Ingress(ingress)) => {
                self.ingresses.insert(place(&ingress.metadata), Arc::clone(ingress));
            }
            Change::Delete(object) => {
                let key = (object.namespace.clone(), object.name.clone());
                match object.kind {
                    ObjectKind::GatewayClass => drop(self.classes.remove(&object.name)),
                    ObjectKind::Gateway => drop(self.gateways.remove(&key)),
                    ObjectKind::HTTPRoute => drop(self.routes.remove(&key)),
                    ObjectKind::Ingress => drop(self.ingresses.remove(&key)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn place(metadata: &kube::core::ObjectMeta) -> (String, String) {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
