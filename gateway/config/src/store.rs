// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Takes resources as they come and yields snapshots; the cost of a change is that of what it touches.

mod listeners;
mod references;
mod tables;

use crate::decode::{Fault, Scope, cluster, endpoints, listener, route_table, secret};
use crate::{Discovery, Endpoints, LocalZone, Rejection, Snapshot, Warning};
use bytes::Bytes;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{ResourceType, pb, unpack};
use listeners::Listeners;
use references::References;
use std::collections::BTreeMap;
use std::sync::Arc;
use tables::Tables;

/// Changes of one resource type, as one delta response carries them.
#[derive(Clone, Debug)]
pub struct Update {
    /// The type.
    pub kind: ResourceType,
    /// New and changed resources, by name.
    pub upserts: Vec<(String, Any)>,
    /// Names of resources that are gone.
    pub removals: Vec<String>,
}

/// What an update did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The new snapshot; none where nothing changed for the proxy.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Resources that were not taken; what was there before stays.
    pub rejections: Vec<Rejection>,
    /// Fields without effect in resources that were taken.
    pub warnings: Vec<Warning>,
    /// Resources by name that are needed from now on.
    pub wanted: Vec<(ResourceType, String)>,
    /// Resources by name that are no longer needed.
    pub unwanted: Vec<(ResourceType, String)>,
}

/// A listener that waits for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The listener's name.
    pub listener: String,
    /// What it waits for.
    pub missing: Vec<(ResourceType, String)>,
}

/// All accepted resources, compiled.
#[derive(Debug, Default)]
pub struct ConfigStore {
    snapshot: Arc<Snapshot>,
    accepted: BTreeMap<(ResourceType, Box<str>), Bytes>,
    listeners: Listeners,
    tables: Tables,
    references: References,
}

impl ConfigStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store for a gateway at some place.
    #[must_use]
    pub fn at(local: Option<LocalZone>) -> Self {
        let snapshot = Snapshot { local: local.map(Arc::new), ..Snapshot::default() };
        Self { snapshot: Arc::new(snapshot), ..Self::default() }
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// All accepted resources in packed form, ordered by type and name, for persistence.
    pub fn accepted(&self) -> impl Iterator<Item = (ResourceType, &str, &Bytes)> {
        self.accepted.iter().map(|((kind, name), value)| (*kind, &**name, value))
    }

    /// An accepted resource in packed form.
    #[must_use]
    pub fn accepted_value(&self, kind: ResourceType, name: &str) -> Option<&Bytes> {
        self.accepted.get(&(kind, name.into()))
    }

    /// Resources by name that listeners and clusters need.
    #[must_use]
    pub fn wanted(&self) -> Vec<(ResourceType, String)> {
        self.references.all()
    }

    /// Listeners that are not served yet, or only in their version before, and what each waits for.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        self.listeners.waiting(&self.snapshot, &self.tables)
    }

    /// Clusters whose endpoints have not come yet.
    #[must_use]
    pub fn clusters_without_endpoints(&self) -> Vec<String> {
        let eds = self
            .snapshot
            .clusters
            .iter()
            .filter(|(_, cluster)| matches!(cluster.discovery, Discovery::Eds { .. }));
        let missing =
            eds.filter(|(_, cluster)| self.snapshot.endpoints.get(cluster.endpoints_name()).is_none());
        missing.map(|(name, _)| name.to_owned()).collect()
    }

    /// Takes the changes of one type.
    pub fn apply(&mut self, update: Update) -> Applied {
        self.apply_all([update])
    }

    /// Takes changes of several types as one: the snapshot after them has all or, where parts were rejected, the versions before.
    pub fn apply_all(&mut self, updates: impl IntoIterator<Item = Update>) -> Applied {
        let mut change =
            Change { next: (*self.snapshot).clone(), changed: false, applied: Applied::default() };
        for update in updates {
            let kind = update.kind;
            for name in &update.removals {
                self.remove(&mut change, kind, name);
            }
            for (name, any) in update.upserts {
                if self.accepted.get(&(kind, name.as_str().into())).is_some_and(|known| **known == *any.value)
                {
                    self.references.revive(kind, &name);
                } else {
                    self.upsert(&mut change, kind, &name, any);
                }
            }
            if kind == ResourceType::VirtualHost {
                self.tables.hosts_came();
            }
        }
        self.tables.settle(&mut change.next, &mut change.applied.warnings, &mut change.changed);
        change.changed |= self.listeners.promote(&mut change.next, &self.tables, &mut self.references);
        self.release(&mut change);
        (change.applied.wanted, change.applied.unwanted) = self.references.take_changes();
        if change.changed {
            change.next.generation = self.snapshot.generation + 1;
            self.snapshot = Arc::new(change.next);
            change.applied.snapshot = Some(Arc::clone(&self.snapshot));
        }
        change.applied
    }

    fn upsert(&mut self, change: &mut Change, kind: ResourceType, name: &str, any: Any) {
        let mut scope = Scope::default();
        match self.compile(change, &mut scope, kind, name, &any) {
            Ok(()) => {
                change.changed = true;
                self.references.revive(kind, name);
                self.accepted.insert((kind, name.into()), any.value.into());
                let warnings =
                    scope.warnings.into_iter().map(|message| Warning { name: name.to_owned(), message });
                change.applied.warnings.extend(warnings);
            }
            Err(Fault(message)) => {
                change.applied.rejections.push(Rejection { name: name.to_owned(), message })
            }
        }
    }

    fn compile(
        &mut self,
        change: &mut Change,
        scope: &mut Scope,
        kind: ResourceType,
        name: &str,
        any: &Any,
    ) -> Result<(), Fault> {
        let malformed = |error: gateway_xds_api::UnpackError| match &error {
            gateway_xds_api::UnpackError::Malformed(_, source) => Fault(format!("{error}: {source}")),
            gateway_xds_api::UnpackError::Type { .. } => Fault(error.to_string()),
        };
        let next = &mut change.next;
        match kind {
            ResourceType::Secret => {
                let message: pb::envoy::extensions::transport_sockets::tls::v3::Secret =
                    unpack(any).map_err(malformed)?;
                same_name(name, &message.name)?;
                next.secrets.insert(name, Arc::new(secret::secret(scope, message)?));
            }
            ResourceType::Cluster => {
                let message: pb::envoy::config::cluster::v3::Cluster = unpack(any).map_err(malformed)?;
                same_name(name, &message.name)?;
                let cluster = Arc::new(cluster::cluster(scope, message)?);
                self.references.add_cluster(&cluster);
                if let Some(before) = next.clusters.insert(name, cluster) {
                    self.references.drop_cluster(&before);
                }
            }
            ResourceType::ClusterLoadAssignment => {
                let message: pb::envoy::config::endpoint::v3::ClusterLoadAssignment =
                    unpack(any).map_err(malformed)?;
                same_name(name, &message.cluster_name)?;
                let endpoints: Endpoints = endpoints::endpoints(scope, message)?;
                next.endpoints.insert(name, Arc::new(endpoints));
            }
            ResourceType::Listener => {
                let message: pb::envoy::config::listener::v3::Listener = unpack(any).map_err(malformed)?;
                same_name(name, &message.name)?;
                let listener = Arc::new(listener::listener(scope, message)?);
                self.listeners.offer(name, listener, &mut self.references);
            }
            ResourceType::RouteConfiguration => {
                let message: pb::envoy::config::route::v3::RouteConfiguration =
                    unpack(any).map_err(malformed)?;
                same_name(name, &message.name)?;
                self.tables.set_table(name, route_table::route_table(scope, message)?)?;
            }
            ResourceType::VirtualHost => {
                let message: pb::envoy::config::route::v3::VirtualHost = unpack(any).map_err(malformed)?;
                let Some((table, _)) = name.rsplit_once('/') else {
                    return Err(Fault("the resource name must be <route table>/<host>".to_owned()));
                };
                self.tables.set_host(table, name, Arc::new(route_table::virtual_host(scope, message)?));
            }
        }
        Ok(())
    }

    fn remove(&mut self, change: &mut Change, kind: ResourceType, name: &str) {
        // What listeners and clusters still need keeps serving until they do not need it: the control plane removes it first from those.
        if self.references.hold_if_needed(kind, name) || self.accepted.remove(&(kind, name.into())).is_none()
        {
            return;
        }
        change.changed = true;
        match kind {
            ResourceType::Secret => drop(change.next.secrets.remove(name)),
            ResourceType::Cluster => {
                if let Some(before) = change.next.clusters.remove(name) {
                    self.references.drop_cluster(&before);
                }
            }
            ResourceType::ClusterLoadAssignment => drop(change.next.endpoints.remove(name)),
            ResourceType::Listener => self.listeners.remove(name, &mut change.next, &mut self.references),
            ResourceType::RouteConfiguration => self.tables.remove_table(name),
            ResourceType::VirtualHost => {
                if let Some((table, _)) = name.rsplit_once('/') {
                    self.tables.remove_host(table, name);
                }
            }
        }
    }

    /// Removes what was held for somebody who has gone too.
    fn release(&mut self, change: &mut Change) {
        let released = self.references.take_released();
        if released.is_empty() {
            return;
        }
        for (kind, name) in released {
            self.remove(change, kind, &name);
        }
        self.tables.settle(&mut change.next, &mut change.applied.warnings, &mut change.changed);
    }
}

/// A change in the making.
struct Change {
    next: Snapshot,
    changed: bool,
    applied: Applied,
}

fn same_name(resource: &str, message: &str) -> Result<(), Fault> {
    match resource == message {
        true => Ok(()),
        false => Err(Fault(format!("the resource is named {resource:?}, the message in it {message:?}"))),
    }
}
