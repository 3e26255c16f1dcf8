// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One gateway's resources, kept up to date by difference.

use crate::listener::{self, Plugins};
use crate::{BackendState, BindOptions, Certificate, PluginModule, cluster, endpoint, names, route, secret};
use gateway_xds_api::{PackedResource, ResourceSet, ResourceType, pack};
use operator_ir::{Application, BackendId, GatewayConfig, Listener, RouteTableId, SecretId, VirtualHostId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Holds the resources of one gateway.
#[derive(Debug)]
pub struct Translator {
    bind: BindOptions,
    config: Arc<GatewayConfig>,
    backends: BTreeMap<BackendId, BackendState>,
    certificates: BTreeMap<SecretId, Certificate>,
    modules: BTreeMap<String, PluginModule>,
    tables: BTreeSet<RouteTableId>,
    resources: ResourceSet,
}

impl Translator {
    /// Nothing is configured yet.
    #[must_use]
    pub fn new(bind: BindOptions) -> Self {
        Self {
            bind,
            config: Arc::default(),
            backends: BTreeMap::new(),
            certificates: BTreeMap::new(),
            modules: BTreeMap::new(),
            tables: BTreeSet::new(),
            resources: ResourceSet::default(),
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Arc<GatewayConfig> {
        &self.config
    }

    /// Takes a new configuration; parts whose `Arc` is the same cost a comparison of pointers.
    pub fn set_config(&mut self, config: Arc<GatewayConfig>) {
        let before = std::mem::replace(&mut self.config, config.clone());
        let (old, new) = (&before.virtual_hosts, &config.virtual_hosts);
        for (id, host) in changed(old, new) {
            match host {
                Some(host) => self.put_virtual_host(id, host),
                None => self.drop_virtual_host(id),
            }
        }
        for (id, backend) in changed(&before.backends, &config.backends) {
            if backend.is_none() {
                self.backends.remove(id);
            }
            self.put_backend(id);
        }
        let plugins_differ = !same(&before.plugins, &config.plugins);
        if plugins_differ {
            self.put_listeners();
        } else {
            for (port, listener) in changed(&before.listeners, &config.listeners) {
                self.put_listener(*port, listener);
            }
        }
        if plugins_differ || !same(&before.listeners, &config.listeners) {
            self.put_route_configurations();
            self.put_secrets();
        }
    }

    /// Tells where a backend's endpoints are. Backends that the configuration does not name are ignored.
    pub fn set_backend(&mut self, id: &BackendId, state: BackendState) {
        if !self.config.backends.contains_key(id) || self.backends.get(id) == Some(&state) {
            return;
        }
        self.backends.insert(id.clone(), state);
        self.put_backend(id);
    }

    /// Tells a certificate, or with `None` that there is none now: the one that was served goes on being served.
    pub fn set_certificate(&mut self, id: &SecretId, certificate: Option<Certificate>) {
        let Some(certificate) = certificate else { return };
        if self.certificates.get(id) == Some(&certificate) {
            return;
        }
        self.certificates.insert(id.clone(), certificate);
        self.put_secrets();
    }

    /// Tells that the relay holds a plugin's module; `image` is the reference in the configuration.
    pub fn set_plugin(&mut self, image: &str, module: PluginModule) {
        if self.modules.get(image) == Some(&module) {
            return;
        }
        self.modules.insert(image.to_owned(), module);
        if self.config.plugins.values().any(|plugin| plugin.image == image) {
            self.put_listeners();
        }
    }

    /// Certificates that the listeners ask for.
    #[must_use]
    pub fn wanted_certificates(&self) -> BTreeSet<SecretId> {
        let chains = self.config.listeners.values().flat_map(|listener| &listener.chains);
        chains
            .filter_map(|chain| chain.tls.as_ref())
            .flat_map(|tls| tls.certificates.iter().cloned())
            .collect()
    }

    /// Backends of which nothing was said yet.
    pub fn unknown_backends(&self) -> impl Iterator<Item = &BackendId> {
        self.config.backends.keys().filter(|id| !self.backends.contains_key(*id))
    }

    /// What our gateways are given: virtual hosts are resources of their own.
    #[must_use]
    pub fn resources(&self) -> &ResourceSet {
        &self.resources
    }

    /// What a stock Envoy is given: virtual hosts inside their route configurations. Costs as much as all routes.
    #[must_use]
    pub fn envoy_resources(&self) -> ResourceSet {
        let mut set = self.resources.clone();
        let hosts: Vec<_> = set.of(ResourceType::VirtualHost).map(|r| r.name.clone()).collect();
        for name in hosts {
            set.remove(ResourceType::VirtualHost, &name);
        }
        for table in self.wanted_tables() {
            let of_table = self.config.virtual_hosts.values().filter(|host| host.id.route_table == table);
            let message = route::inline(&table, of_table.map(Arc::as_ref));
            let kind = ResourceType::RouteConfiguration;
            set.insert(kind, Arc::new(pack(kind, names::route_configuration(&table), &message, "")));
        }
        set
    }

    fn put(&mut self, kind: ResourceType, resource: PackedResource) {
        let same =
            self.resources.get(kind, &resource.name).is_some_and(|held| held.version == resource.version);
        if !same {
            self.resources.insert(kind, Arc::new(resource));
        }
    }

    fn put_virtual_host(&mut self, id: &VirtualHostId, host: &operator_ir::VirtualHost) {
        let origin = host.rules.first().map(|rule| rule.origin.object.to_string()).unwrap_or_default();
        let kind = ResourceType::VirtualHost;
        self.put(kind, pack(kind, names::virtual_host(id), &route::virtual_host(host), origin));
    }

    fn drop_virtual_host(&mut self, id: &VirtualHostId) {
        self.resources.remove(ResourceType::VirtualHost, &names::virtual_host(id));
    }

    fn put_backend(&mut self, id: &BackendId) {
        let name = names::cluster(id);
        let known = match (self.config.backends.get(id), self.backends.get(id)) {
            (Some(backend), Some(BackendState::Known(endpoints))) => {
                Some((backend.clone(), endpoints.clone()))
            }
            _ => None,
        };
        let Some((backend, endpoints)) = known else {
            self.resources.remove(ResourceType::Cluster, &name);
            self.resources.remove(ResourceType::ClusterLoadAssignment, &name);
            return;
        };
        let origin = backend.origin.to_string();
        let kind = ResourceType::Cluster;
        self.put(kind, pack(kind, name.clone(), &cluster::cluster(&backend), origin.clone()));
        let kind = ResourceType::ClusterLoadAssignment;
        self.put(kind, pack(kind, name, &endpoint::assignment(id, &endpoints), origin));
    }

    fn put_listeners(&mut self) {
        let config = self.config.clone();
        let bound: Vec<_> = self.resources.of(ResourceType::Listener).map(|r| r.name.clone()).collect();
        for name in bound {
            if !config.listeners.keys().any(|port| names::listener(*port) == name) {
                self.resources.remove(ResourceType::Listener, &name);
            }
        }
        for (port, listener) in &config.listeners {
            self.put_listener(*port, Some(listener));
        }
    }

    /// A listener that has to be withheld stays as it was, so that what is served goes on.
    fn put_listener(&mut self, port: u16, listener: Option<&Arc<Listener>>) {
        let kind = ResourceType::Listener;
        let name = names::listener(port);
        let Some(listener) = listener else {
            self.resources.remove(kind, &name);
            return;
        };
        let config = self.config.clone();
        let plugins = Plugins { declared: &config.plugins, modules: &self.modules };
        if let Ok(message) = listener::listener(listener, &self.bind, &plugins) {
            let origin = listener.chains.first().map(|chain| chain.origin.to_string()).unwrap_or_default();
            self.put(kind, pack(kind, name, &message, origin));
        }
    }

    fn wanted_tables(&self) -> BTreeSet<RouteTableId> {
        let chains = self.config.listeners.values().flat_map(|listener| &listener.chains);
        chains
            .map(|chain| match &chain.application {
                Application::Http { route_table } => route_table.clone(),
            })
            .collect()
    }

    fn put_route_configurations(&mut self) {
        let kind = ResourceType::RouteConfiguration;
        let wanted = self.wanted_tables();
        let gone: Vec<_> = self.tables.iter().filter(|table| !wanted.contains(table)).cloned().collect();
        for table in gone {
            self.tables.remove(&table);
            self.resources.remove(kind, &names::route_configuration(&table));
        }
        for table in wanted {
            self.put(
                kind,
                pack(kind, names::route_configuration(&table), &route::by_virtual_host(&table), ""),
            );
            self.tables.insert(table);
        }
    }

    fn put_secrets(&mut self) {
        let kind = ResourceType::Secret;
        let wanted = self.wanted_certificates();
        self.certificates.retain(|id, _| wanted.contains(id));
        let held: Vec<_> = self.resources.of(kind).map(|r| r.name.clone()).collect();
        for name in held {
            if !wanted.iter().any(|id| names::secret(id) == name) {
                self.resources.remove(kind, &name);
            }
        }
        let packed: Vec<_> = self
            .certificates
            .iter()
            .map(|(id, certificate)| {
                let origin = format!("Secret {id}");
                pack(kind, names::secret(id), &secret::secret(id, certificate), origin)
            })
            .collect();
        packed.into_iter().for_each(|resource| self.put(kind, resource));
    }
}

/// Keys whose value differs by identity, with the new value; `None` where it is gone.
fn changed<'a, K: Ord, V>(
    old: &'a BTreeMap<K, Arc<V>>,
    new: &'a BTreeMap<K, Arc<V>>,
) -> Vec<(&'a K, Option<&'a Arc<V>>)> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key, None));
    let fresh = new.iter().filter(|(key, value)| old.get(*key).is_none_or(|held| !Arc::ptr_eq(held, value)));
    gone.chain(fresh.map(|(key, value)| (key, Some(value)))).collect()
}

fn same<K: Ord, V>(old: &BTreeMap<K, Arc<V>>, new: &BTreeMap<K, Arc<V>>) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|((a, x), (b, y))| a == b && Arc::ptr_eq(x, y))
}
