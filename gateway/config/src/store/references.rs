// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who needs which resource by name: what to subscribe to, and what must not go away yet.

use crate::{Cluster, Discovery, Listener, RouteSource, SecretSource};
use gateway_xds_api::ResourceType;
use std::collections::{BTreeSet, HashMap};

/// A resource by type and name.
pub(super) type Key = (ResourceType, Box<str>);

/// Resources by type and name, as they are told to others.
type Names = Vec<(ResourceType, String)>;

/// Counts of who needs what.
#[derive(Debug, Default)]
pub(super) struct References {
    counts: HashMap<Key, u32>,
    /// Those whose need changed since the last look, with whether they were needed then.
    touched: HashMap<Key, bool>,
    /// Removed by the control plane while still needed.
    held: BTreeSet<Key>,
}

impl References {
    pub(super) fn add_cluster(&mut self, cluster: &Cluster) {
        cluster_keys(cluster, |key| self.add(key));
    }

    pub(super) fn drop_cluster(&mut self, cluster: &Cluster) {
        cluster_keys(cluster, |key| self.drop(&key));
    }

    pub(super) fn add_listener(&mut self, listener: &Listener) {
        listener_keys(listener, |key| self.add(key));
    }

    pub(super) fn drop_listener(&mut self, listener: &Listener) {
        listener_keys(listener, |key| self.drop(&key));
    }

    fn add(&mut self, key: Key) {
        let count = self.counts.entry(key.clone()).or_default();
        let before = *count > 0;
        *count += 1;
        self.touched.entry(key).or_insert(before);
    }

    fn drop(&mut self, key: &Key) {
        if let Some(count) = self.counts.get_mut(key) {
            self.touched.entry(key.clone()).or_insert(true);
            *count -= 1;
            if *count == 0 {
                self.counts.remove(key);
            }
        }
    }

    /// What became needed and what is no longer needed since the last call.
    pub(super) fn take_changes(&mut self) -> (Names, Names) {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for (key, before) in std::mem::take(&mut self.touched) {
            match (before, self.counts.contains_key(&key)) {
                (false, true) => wanted.push((key.0, key.1.into())),
                (true, false) => unwanted.push((key.0, key.1.into())),
                _ => {}
            }
        }
        wanted.sort();
        unwanted.sort();
        (wanted, unwanted)
    }

    pub(super) fn all(&self) -> Vec<(ResourceType, String)> {
        let mut all: Vec<_> = self.counts.keys().map(|(kind, name)| (*kind, name.to_string())).collect();
        all.sort();
        all
    }

    /// True where a secret or route table is needed: it is then removed later.
    pub(super) fn hold_if_needed(&mut self, kind: ResourceType, name: &str) -> bool {
        let key = (kind, name.into());
        let holds = matches!(kind, ResourceType::Secret | ResourceType::RouteConfiguration)
            && self.counts.contains_key(&key);
        if holds {
            self.held.insert(key);
        }
        holds
    }

    /// A resource that was to go came back.
    pub(super) fn revive(&mut self, kind: ResourceType, name: &str) {
        if !self.held.is_empty() {
            self.held.remove(&(kind, name.into()));
        }
    }

    /// Held resources that nobody needs any more.
    pub(super) fn take_released(&mut self) -> Vec<Key> {
        let released: Vec<Key> =
            self.held.iter().filter(|key| !self.counts.contains_key(*key)).cloned().collect();
        for key in &released {
            self.held.remove(key);
        }
        released
    }
}

/// What a cluster needs.
fn cluster_keys(cluster: &Cluster, mut each: impl FnMut(Key)) {
    if let Discovery::Eds { .. } = cluster.discovery {
        each((ResourceType::ClusterLoadAssignment, cluster.endpoints_name().into()));
    }
    let tls = cluster.sockets().filter_map(|socket| socket.tls.as_ref());
    let sources = tls.flat_map(|tls| tls.roots.iter().chain(&tls.certificate));
    for source in sources {
        if let SecretSource::Named(name) = source {
            each((ResourceType::Secret, name.clone()));
        }
    }
}

/// What a listener needs.
pub(super) fn listener_keys(listener: &Listener, mut each: impl FnMut(Key)) {
    for chain in listener.chains.all() {
        if let Some(RouteSource::Rds(name)) = chain.http().map(|http| &http.routes) {
            each((ResourceType::RouteConfiguration, name.clone()));
        }
        let filters = chain.http().into_iter().flat_map(|http| &http.filters);
        for name in filters.flat_map(|filter| filter.kind.secrets()) {
            each((ResourceType::Secret, name.into()));
        }
        for name in chain.tls.iter().flat_map(|tls| tls.certificates.iter().chain(&tls.client_roots)) {
            each((ResourceType::Secret, name.clone()));
        }
    }
}
