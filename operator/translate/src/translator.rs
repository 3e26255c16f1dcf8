// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The incremental translation of one gateway.

mod part;

use crate::http_manager::BoundPlugin;
use crate::{
    BackendState, BindOptions, Certificate, CertificateState, Endpoints, Live, cluster, endpoints, listener,
    route, secret,
};
use gateway_xds_api::{PackedResource, ResourceMap, ResourceSet, ResourceType};
use operator_ir::{
    Application, Backend, BackendId, FilterChain, GatewayConfig, Listener, RouteTableId, SecretId,
    VirtualHost, VirtualHostId,
};
use part::{Input, Part, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Resources that are new or differ.
    pub upserted: Vec<(ResourceType, String)>,
    /// Resources that are gone.
    pub removed: Vec<(ResourceType, String)>,
    /// How many resources were encoded to find that out.
    pub encoded: usize,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty()
    }
}

/// Translates one gateway, keeping what did not change.
///
/// An update walks all names once, comparing pointers, and encodes only parts whose `Arc` differs.
#[derive(Debug)]
pub struct Translator {
    options: BindOptions,
    resources: Arc<ResourceSet>,
    listeners: Part<u16, BoundListener>,
    tables: Part<RouteTableId, ()>,
    virtual_hosts: Part<VirtualHostId, Arc<VirtualHost>>,
    clusters: Part<BackendId, Arc<Backend>>,
    endpoints: Part<BackendId, Arc<Endpoints>>,
    secrets: Part<SecretId, Arc<Certificate>>,
    envoy: EnvoyForm,
}

/// Route tables with their virtual hosts inside, built while a stock Envoy asks.
#[derive(Debug, Default)]
struct EnvoyForm {
    wanted: bool,
    tables: BTreeMap<RouteTableId, Arc<PackedResource>>,
    /// Tables whose virtual hosts changed since they were built.
    stale: BTreeSet<RouteTableId>,
}

/// A listener with its chains' plugins.
#[derive(Clone, Debug)]
struct BoundListener {
    listener: Arc<Listener>,
    plugins: BTreeMap<String, BoundPlugin>,
}

impl Input for BoundListener {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.listener, &other.listener)
            && self.plugins.len() == other.plugins.len()
            && self
                .plugins
                .values()
                .zip(other.plugins.values())
                .all(|((a, x), (b, y))| Arc::ptr_eq(a, b) && x == y)
    }
}

impl Translator {
    /// Has translated nothing yet.
    #[must_use]
    pub fn new(options: BindOptions) -> Self {
        Self {
            options,
            resources: Arc::default(),
            listeners: Part::new(ResourceType::Listener),
            tables: Part::new(ResourceType::RouteConfiguration),
            virtual_hosts: Part::new(ResourceType::VirtualHost),
            clusters: Part::new(ResourceType::Cluster),
            endpoints: Part::new(ResourceType::ClusterLoadAssignment),
            secrets: Part::new(ResourceType::Secret),
            envoy: EnvoyForm::default(),
        }
    }

    /// Brings the resources up to `config` joined with `live`.
    pub fn update(&mut self, config: &GatewayConfig, live: &Live) -> Changes {
        let mut changes = Changes::default();
        let set = Arc::make_mut(&mut self.resources);
        let options = &self.options;

        let backends = || config.backends.iter().map(|(id, backend)| (id, backend, live.backends.get(id)));
        self.clusters.sync(
            backends().map(|(id, backend, state)| (id, cluster_wanted(backend, state))),
            |_, backend| cluster::cluster(backend),
            set,
            &mut changes,
        );
        self.endpoints.sync(
            backends().map(|(id, _, state)| (id, endpoints_wanted(state))),
            endpoints_packed,
            set,
            &mut changes,
        );
        let secrets = secret_ids(config);
        self.secrets.sync(
            secrets.iter().map(|id| (*id, secret_wanted(live.certificates.get(*id)))),
            |id, certificate| secret::certificate(id, certificate),
            set,
            &mut changes,
        );
        self.listeners.sync(
            config
                .listeners
                .iter()
                .map(|(port, listener)| (port, Wanted::Is(bind_plugins(listener, config, live)))),
            |_, bound| listener::listener(&bound.listener, |chain| bound.chain_plugins(chain), options),
            set,
            &mut changes,
        );
        let tables = table_ids(config);
        self.tables.sync(
            tables.iter().map(|id| (*id, Wanted::Is(()))),
            |id, ()| route::table(id),
            set,
            &mut changes,
        );
        let before = changes.upserted.len() + changes.removed.len();
        self.virtual_hosts.sync(
            config.virtual_hosts.iter().map(|(id, host)| (id, Wanted::Is(host.clone()))),
            |_, host| route::virtual_host(host),
            set,
            &mut changes,
        );
        if self.envoy.wanted && changes.upserted.len() + changes.removed.len() > before {
            self.envoy.stale.extend(self.virtual_hosts.touched().map(|id| id.route_table.clone()));
        }
        changes
    }

    /// The resources of our gateway.
    #[must_use]
    pub fn resources(&self) -> Arc<ResourceSet> {
        self.resources.clone()
    }

    /// The resources of a stock Envoy, with virtual hosts inside their route tables. From the first call on, tables are
    /// kept and only changed ones are put together again, until [`Self::forget_envoy`].
    #[must_use]
    pub fn envoy_resources(&mut self) -> Arc<ResourceSet> {
        if !self.envoy.wanted {
            self.envoy.wanted = true;
            self.envoy.stale = self.tables.keys().cloned().collect();
        }
        self.envoy.tables.retain(|id, _| self.tables.contains(id));
        let new = self.tables.keys().filter(|id| !self.envoy.tables.contains_key(id)).cloned();
        self.envoy.stale.extend(new);
        for id in std::mem::take(&mut self.envoy.stale) {
            if self.tables.contains(&id) {
                let hosts =
                    self.virtual_hosts.packed().filter(|(host, _)| host.route_table == id).map(|(_, p)| p);
                let table = route::table_with(&id.0, hosts);
                self.envoy.tables.insert(id, Arc::new(table));
            }
        }
        let mut set = (*self.resources).clone();
        set.set_map(ResourceType::VirtualHost, ResourceMap::default());
        set.set_map(ResourceType::RouteConfiguration, self.envoy.tables.values().cloned().collect());
        Arc::new(set)
    }

    /// Drops what is kept for stock Envoys, once none is connected.
    pub fn forget_envoy(&mut self) {
        self.envoy = EnvoyForm::default();
    }
}

impl BoundListener {
    fn chain_plugins(&self, chain: &FilterChain) -> Vec<BoundPlugin> {
        chain.plugins.iter().filter_map(|name| self.plugins.get(name).cloned()).collect()
    }
}

fn bind_plugins(listener: &Arc<Listener>, config: &GatewayConfig, live: &Live) -> BoundListener {
    let names = listener.chains.iter().flat_map(|chain| &chain.plugins);
    let plugins = names.filter_map(|name| {
        let plugin = config.plugins.get(name)?;
        Some((name.clone(), (plugin.clone(), live.plugins.get(&plugin.image).cloned())))
    });
    BoundListener { listener: listener.clone(), plugins: plugins.collect() }
}

fn cluster_wanted(backend: &Arc<Backend>, state: Option<&BackendState>) -> Wanted<Arc<Backend>> {
    match state {
        Some(BackendState::Present(_)) => Wanted::Is(backend.clone()),
        Some(BackendState::Absent) => Wanted::Gone,
        Some(BackendState::Unknown) | None => Wanted::IfKept(Some(backend.clone())),
    }
}

fn endpoints_wanted(state: Option<&BackendState>) -> Wanted<Arc<Endpoints>> {
    match state {
        Some(BackendState::Present(endpoints)) => Wanted::Is(endpoints.clone()),
        Some(BackendState::Absent) => Wanted::Gone,
        Some(BackendState::Unknown) | None => Wanted::IfKept(None),
    }
}

fn endpoints_packed(id: &BackendId, live: &Arc<Endpoints>) -> PackedResource {
    endpoints::load_assignment(id, live)
}

fn secret_wanted(state: Option<&CertificateState>) -> Wanted<Arc<Certificate>> {
    match state {
        Some(CertificateState::Present(certificate)) => Wanted::Is(certificate.clone()),
        Some(CertificateState::Absent) => Wanted::Gone,
        Some(CertificateState::Unknown) | None => Wanted::IfKept(None),
    }
}

/// Secrets that listeners name, in order.
fn secret_ids(config: &GatewayConfig) -> BTreeSet<&SecretId> {
    let chains = config.listeners.values().flat_map(|listener| &listener.chains);
    chains.filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| &tls.certificates).collect()
}

/// Tables that listeners route by or virtual hosts belong to, in order.
fn table_ids(config: &GatewayConfig) -> BTreeSet<&RouteTableId> {
    let chains = config.listeners.values().flat_map(|listener| &listener.chains);
    let mut tables: BTreeSet<&RouteTableId> = chains
        .map(|chain| {
            let Application::Http { route_table } = &chain.application;
            route_table
        })
        .collect();
    // Neighbours share their table, so that few of ten thousand hosts reach the set.
    let mut last = None;
    for id in config.virtual_hosts.keys() {
        if last != Some(&id.route_table) {
            last = Some(&id.route_table);
            tables.insert(&id.route_table);
        }
    }
    tables
}
