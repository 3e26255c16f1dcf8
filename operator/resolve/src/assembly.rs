// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One gateway's configuration, put together from what its owner and the routes contribute, part by part.

use crate::route::{Contribution, HostCertificate, backends, ordered};
use crate::target::{GatewayInfo, Protocol, Target, TargetListener, TargetOutcome};
use operator_ir::{
    Application, Backend, BackendId, FilterChain, GatewayConfig, HostPattern, Listener, ObjectKind,
    ObjectRef, Origin, TlsTermination, VirtualHost, VirtualHostId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a proxy waits for a connection to a backend, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 5000;

/// Parts of a gateway's configuration that were added, replaced or removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedParts {
    /// By port.
    pub listeners: BTreeSet<u16>,
    /// By route table and host.
    pub virtual_hosts: BTreeSet<VirtualHostId>,
    /// By name.
    pub backends: BTreeSet<BackendId>,
    /// By name.
    pub plugins: BTreeSet<String>,
}

/// A gateway in the making: its configuration, and what each part was made from.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) owner: ObjectRef,
    pub(crate) info: GatewayInfo,
    pub(crate) config: GatewayConfig,
    /// By route within each virtual host.
    contributions: BTreeMap<Arc<VirtualHostId>, Vec<Contribution>>,
    partitions: BTreeMap<VirtualHostId, VirtualHost>,
    certificates: BTreeMap<ObjectRef, Vec<HostCertificate>>,
    /// In how many virtual hosts a backend is named.
    backend_users: BTreeMap<BackendId, usize>,
}

impl Assembly {
    pub(crate) fn new(outcome: &TargetOutcome) -> Self {
        Self {
            owner: outcome.target.object.as_ref().clone(),
            info: outcome.info.clone(),
            config: GatewayConfig::default(),
            contributions: BTreeMap::new(),
            partitions: BTreeMap::new(),
            certificates: BTreeMap::new(),
            backend_users: BTreeMap::new(),
        }
    }

    /// Everything that is there now, as changed.
    pub(crate) fn all_parts(&self) -> ChangedParts {
        ChangedParts {
            listeners: self.config.listeners.keys().copied().collect(),
            virtual_hosts: self.config.virtual_hosts.keys().cloned().collect(),
            backends: self.config.backends.keys().cloned().collect(),
            plugins: self.config.plugins.keys().cloned().collect(),
        }
    }

    /// Adds to a virtual host what a route contributes, in place of what it contributed before; whether that differs.
    pub(crate) fn contribute(&mut self, host: &Arc<VirtualHostId>, contribution: Contribution) -> bool {
        let routes = self.contributions.entry(host.clone()).or_default();
        match routes.binary_search_by(|other| other.rules.object.cmp(&contribution.rules.object)) {
            Ok(index) if routes[index] == contribution => return false,
            Ok(index) => routes[index] = contribution,
            Err(index) => {
                routes.reserve_exact(1);
                routes.insert(index, contribution);
            }
        }
        true
    }

    /// Takes from a virtual host what `route` contributed.
    pub(crate) fn withdraw(&mut self, host: &VirtualHostId, route: &ObjectRef) {
        let Some(routes) = self.contributions.get_mut(host) else { return };
        if let Ok(index) = routes.binary_search_by(|other| other.rules.object.cmp(route)) {
            routes.remove(index);
        }
        if routes.is_empty() {
            self.contributions.remove(host);
        }
    }

    /// Replaces the certificates that `route` brings; whether they differ.
    pub(crate) fn certify(&mut self, route: &ObjectRef, certificates: Option<&Vec<HostCertificate>>) -> bool {
        if self.certificates.get(route) == certificates {
            return false;
        }
        match certificates {
            Some(certificates) => self.certificates.insert(route.clone(), certificates.clone()),
            None => self.certificates.remove(route),
        };
        true
    }

    /// Takes over the owner's partitions; the virtual hosts that they touch.
    pub(crate) fn partition(&mut self, target: &Target) -> Vec<VirtualHostId> {
        let new: BTreeMap<_, _> =
            target.partitions().into_iter().map(|host| (host.id.clone(), host)).collect();
        let old = std::mem::replace(&mut self.partitions, new);
        let touched: BTreeSet<_> = old.keys().chain(self.partitions.keys()).cloned().collect();
        touched.into_iter().filter(|id| old.get(id) != self.partitions.get(id)).collect()
    }

    /// Puts a virtual host together anew.
    pub(crate) fn assemble_host(&mut self, id: &VirtualHostId, parts: &mut ChangedParts) {
        let contributions = self.contributions.get(id);
        let partition = self.partitions.get(id);
        let new = (contributions.is_some() || partition.is_some()).then(|| {
            let mut rules = ordered(contributions.into_iter().flatten());
            rules.extend(partition.into_iter().flat_map(|partition| partition.rules.iter().cloned()));
            VirtualHost { id: id.clone(), rules }
        });
        let old = self.config.virtual_hosts.get(id);
        if old.map(Arc::as_ref) == new.as_ref() {
            return;
        }
        let named = |host: Option<&VirtualHost>| -> BTreeSet<BackendId> {
            host.into_iter().flat_map(|host| host.rules.iter().flat_map(backends)).cloned().collect()
        };
        let (before, after) = (named(old.map(Arc::as_ref)), named(new.as_ref()));
        for backend in after.difference(&before) {
            self.use_backend(backend, parts);
        }
        for backend in before.difference(&after) {
            self.leave_backend(backend, parts);
        }
        match new {
            Some(new) => self.config.virtual_hosts.insert(id.clone(), Arc::new(new)),
            None => self.config.virtual_hosts.remove(id),
        };
        parts.virtual_hosts.insert(id.clone());
    }

    fn use_backend(&mut self, id: &BackendId, parts: &mut ChangedParts) {
        let users = self.backend_users.entry(id.clone()).or_default();
        *users += 1;
        if *users == 1 {
            let BackendId::Service { namespace, name, .. } = id;
            let origin = Origin { object: ObjectRef::new(ObjectKind::Service, namespace, name), rule: None };
            let backend = Backend { id: id.clone(), connect_timeout_ms: CONNECT_TIMEOUT_MS, origin };
            self.config.backends.insert(id.clone(), Arc::new(backend));
            parts.backends.insert(id.clone());
        }
    }

    fn leave_backend(&mut self, id: &BackendId, parts: &mut ChangedParts) {
        if let Some(users) = self.backend_users.get_mut(id) {
            *users -= 1;
            if *users == 0 {
                self.backend_users.remove(id);
                self.config.backends.remove(id);
                parts.backends.insert(id.clone());
            }
        }
    }

    /// Puts listeners and plugins together anew.
    pub(crate) fn assemble_listeners(&mut self, outcome: &TargetOutcome, parts: &mut ChangedParts) {
        let mut listeners: BTreeMap<u16, Vec<FilterChain>> = BTreeMap::new();
        let plugins: Vec<_> = outcome.plugins.iter().map(|plugin| plugin.name.clone()).collect();
        let target = &outcome.target;
        for listener in target.listeners.iter().filter(|listener| listener.serving) {
            let chains = listeners.entry(listener.port).or_default();
            match listener.protocol {
                Protocol::Http if chains.is_empty() => chains.push(plain_chain(target, listener, &plugins)),
                Protocol::Https => chains.extend(self.tls_chains(target, listener, &plugins)),
                Protocol::Http | Protocol::Unsupported => {}
            }
        }
        listeners.retain(|_, chains| !chains.is_empty());
        for chains in listeners.values_mut() {
            chains.sort_by(|a, b| (&a.server_names, &a.name).cmp(&(&b.server_names, &b.name)));
        }
        let listeners =
            listeners.into_iter().map(|(port, chains)| (port, Listener { port, chains })).collect();
        replace_parts(&mut self.config.listeners, listeners, &mut parts.listeners);
        let plugins = outcome.plugins.iter().map(|plugin| (plugin.name.clone(), plugin.clone())).collect();
        replace_parts(&mut self.config.plugins, plugins, &mut parts.plugins);
    }

    /// The listener's own chain, and one for each host that a route has brought a certificate for: the oldest one.
    fn tls_chains(&self, target: &Target, listener: &TargetListener, plugins: &[String]) -> Vec<FilterChain> {
        let chain = |name: String, host: &HostPattern, certificates, origin: &ObjectRef| FilterChain {
            name,
            server_names: vec![host.clone()],
            tls: Some(TlsTermination { certificates }),
            application: Application::Http { route_table: Target::route_table(listener) },
            plugins: plugins.to_vec(),
            origin: Origin { object: origin.clone(), rule: None },
        };
        let table = Target::route_table(listener);
        let mut chains = Vec::new();
        if !listener.certificates.is_empty() {
            chains.push(chain(
                table.0.clone(),
                &listener.hostname,
                listener.certificates.clone(),
                &target.object,
            ));
        }
        let mut winners: BTreeMap<&HostPattern, (&ObjectRef, &HostCertificate)> = BTreeMap::new();
        for (route, certificates) in &self.certificates {
            for certificate in certificates.iter().filter(|certificate| certificate.listener == listener.name)
            {
                let winner = winners.entry(&certificate.host).or_insert((route, certificate));
                if (certificate.age, route) < (winner.1.age, winner.0) {
                    *winner = (route, certificate);
                }
            }
        }
        for (host, (route, certificate)) in winners {
            if listener.certificates.is_empty() || *host != listener.hostname {
                chains.push(chain(format!("{table}/{host}"), host, vec![certificate.secret.clone()], route));
            }
        }
        chains
    }
}

/// All plain-text listeners of a port are one chain: the Host header tells them apart.
fn plain_chain(target: &Target, listener: &TargetListener, plugins: &[String]) -> FilterChain {
    let route_table = Target::route_table(listener);
    FilterChain {
        name: route_table.0.clone(),
        server_names: vec![HostPattern::Any],
        tls: None,
        application: Application::Http { route_table },
        plugins: plugins.to_vec(),
        origin: Origin { object: target.object.as_ref().clone(), rule: None },
    }
}

/// Replaces a map, keeping the allocation of every part that is the same.
fn replace_parts<K: Ord + Clone, V: PartialEq>(
    current: &mut BTreeMap<K, Arc<V>>,
    new: BTreeMap<K, V>,
    changed: &mut BTreeSet<K>,
) {
    let gone: Vec<_> = current.keys().filter(|key| !new.contains_key(key)).cloned().collect();
    for key in gone {
        current.remove(&key);
        changed.insert(key);
    }
    for (key, value) in new {
        if current.get(&key).is_none_or(|old| **old != value) {
            current.insert(key.clone(), Arc::new(value));
            changed.insert(key);
        }
    }
}
