// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay's work: pinned configuration and live data in, published resources and reports out.

use super::live::{self, LiveEvent};
use super::plugins::{PluginCache, PluginState};
use super::report::{GatewayReport, RelayReport};
use super::services::{self, ServiceEndpoint, ServiceIndex, ServiceName};
use super::{Known, group_of};
use crate::objects::{ObjectEvent, Objects};
use crate::pin::{PinReceiver, Pinned};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use operator_ir::{BackendId, BackendProtocol, FailurePolicy, GatewayConfig, GatewayId, SecretId};
use operator_translate::{
    BackendState, BindOptions, Certificate, CertificateState, Endpoint, Endpoints, Live, LocalityEndpoints,
    PluginFact, Translator,
};
use operator_xds_server::{Form, Publisher};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Most live events that are taken in before they are published; whatever waits then comes right after.
const BATCH: usize = 1024;

/// What is served to one gateway.
struct Served {
    config: Arc<GatewayConfig>,
    translator: Translator,
}

pub(super) struct ServeLoop {
    bind: BindOptions,
    /// Where gateways fetch plugins: `https://host:port`.
    plugin_source: String,
    publisher: Publisher,
    known: Known,
    plugins: PluginCache,
    reports: watch::Sender<RelayReport>,
    services: ServiceIndex,
    secrets_listed: bool,
    pinned: Option<Arc<Pinned>>,
    /// Live data of everything that any gateway names.
    live: Live,
    gateways: BTreeMap<GatewayId, Served>,
    /// Gateways whose resources may differ from what was published.
    touched: BTreeSet<GatewayId>,
}

impl ServeLoop {
    pub(super) fn new(
        (bind, plugin_source): (BindOptions, String),
        publisher: Publisher,
        known: Known,
        plugins: PluginCache,
        reports: watch::Sender<RelayReport>,
    ) -> Self {
        Self {
            bind,
            plugin_source,
            publisher,
            known,
            plugins,
            reports,
            services: ServiceIndex::default(),
            secrets_listed: false,
            pinned: None,
            live: Live::default(),
            gateways: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Works until `stop`. Nothing here waits for a timer: a change is published as soon as it is known.
    pub(super) async fn run(mut self, mut pins: PinReceiver, objects: Objects, stop: CancellationToken) {
        let mut events = live::watch(&objects);
        let mut ledger = self.publisher.ledger().changes();
        let mut demand = self.publisher.demand();
        let mut fetched = self.plugins.changes();
        // The first pin may have been there before this loop.
        pins.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = pins.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let pinned = pins.borrow_and_update().clone();
                    self.take_pin(pinned);
                }
                Some(event) = events.next() => self.take_batch(event, &mut events),
                Ok(()) = demand.changed() => self.touched.extend(self.gateways.keys().cloned()),
                Ok(()) = fetched.changed() => self.take_plugins(),
                Ok(()) = ledger.changed() => {}
            }
            self.publish();
            self.report();
        }
    }

    fn take_pin(&mut self, pinned: Option<Arc<Pinned>>) {
        let Some(pinned) = pinned else { return };
        let gone: Vec<_> =
            self.gateways.keys().filter(|id| !pinned.gateways.contains_key(id)).cloned().collect();
        for id in gone {
            self.gateways.remove(&id);
            self.publisher.withdraw(&group_of(&id));
        }
        *self.known.write() = pinned.gateways.keys().cloned().collect();
        for (id, config) in &pinned.gateways {
            self.take_config(id, config);
        }
        // A revision that changes nothing for a gateway is acknowledged by being published.
        self.touched.extend(pinned.gateways.keys().cloned());
        tracing::info!(revision = %pinned.revision, hash = %pinned.hash, gateways = pinned.gateways.len(), "pinned");
        self.pinned = Some(pinned);
        self.prune();
        self.take_plugins();
    }

    fn take_config(&mut self, id: &GatewayId, config: &Arc<GatewayConfig>) {
        for backend in config.backends.keys() {
            if !self.live.backends.contains_key(backend) {
                self.live.backends.insert(backend.clone(), state_of(&self.services, backend));
            }
        }
        for plugin in config.plugins.values() {
            self.plugins.want(plugin);
        }
        let bind = &self.bind;
        let new = || Served { config: config.clone(), translator: Translator::new(bind.clone()) };
        self.gateways.entry(id.clone()).or_insert_with(new).config = config.clone();
    }

    /// Forgets backends that no gateway names any more, once they are many.
    fn prune(&mut self) {
        let named: usize = self.gateways.values().map(|served| served.config.backends.len()).sum();
        if self.live.backends.len() > named + 64 {
            let gateways = &self.gateways;
            self.live
                .backends
                .retain(|id, _| gateways.values().any(|served| served.config.backends.contains_key(id)));
        }
    }

    /// Takes an event and whatever else waits already, so that a burst is published once.
    fn take_batch(&mut self, first: LiveEvent, events: &mut BoxStream<'static, LiveEvent>) {
        let mut touched = BTreeSet::new();
        let listed_before = self.services.is_listed();
        self.take_live(first, &mut touched);
        for _ in 0..BATCH {
            match events.next().now_or_never() {
                Some(Some(event)) => self.take_live(event, &mut touched),
                _ => break,
            }
        }
        if !listed_before && self.services.is_listed() {
            self.take_all_backends();
        } else {
            touched.iter().for_each(|service| self.take_service(service));
        }
    }

    fn take_live(&mut self, event: LiveEvent, touched: &mut BTreeSet<ServiceName>) {
        match event {
            LiveEvent::Service(ObjectEvent::Upsert(service)) => {
                touched.insert(self.services.upsert_service(service));
            }
            LiveEvent::Service(ObjectEvent::Delete(service)) => {
                touched.insert(self.services.delete_service(&service));
            }
            LiveEvent::Service(ObjectEvent::Listed) => self.services.services_listed(),
            LiveEvent::Slice(ObjectEvent::Upsert(slice)) => touched.extend(self.services.upsert_slice(slice)),
            LiveEvent::Slice(ObjectEvent::Delete(slice)) => {
                touched.extend(self.services.delete_slice(&slice))
            }
            LiveEvent::Slice(ObjectEvent::Listed) => self.services.slices_listed(),
            LiveEvent::Secret(ObjectEvent::Upsert(secret)) => self.take_secret(&secret),
            LiveEvent::Secret(ObjectEvent::Delete(secret)) => {
                tracing::warn!(secret = %secret_id(&secret), "Secret deleted; its certificate goes on being served");
            }
            LiveEvent::Secret(ObjectEvent::Listed) => self.secrets_listed = true,
            LiveEvent::Service(ObjectEvent::Failed(reason))
            | LiveEvent::Slice(ObjectEvent::Failed(reason))
            | LiveEvent::Secret(ObjectEvent::Failed(reason)) => {
                tracing::warn!(reason, "live data cannot be read now; the last state goes on");
            }
        }
    }

    fn take_all_backends(&mut self) {
        for (id, state) in &mut self.live.backends {
            *state = state_of(&self.services, id);
        }
        self.touched.extend(self.gateways.keys().cloned());
    }

    fn take_service(&mut self, (namespace, name): &ServiceName) {
        let of = |port, protocol| BackendId::Service {
            namespace: namespace.clone(),
            name: name.clone(),
            port,
            protocol,
        };
        let range = of(0, BackendProtocol::Http1)..=of(u16::MAX, BackendProtocol::Http2);
        for (backend, held) in self.live.backends.range_mut(range) {
            let state = state_of(&self.services, backend);
            if same_state(held, &state) {
                continue;
            }
            *held = state;
            let users =
                self.gateways.iter().filter(|(_, served)| served.config.backends.contains_key(backend));
            self.touched.extend(users.map(|(id, _)| id.clone()));
        }
    }

    /// A certificate that cannot be read, or is gone, goes on being served as it was.
    fn take_secret(&mut self, secret: &Secret) {
        let id = secret_id(secret);
        let part = |name: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.clone());
            // An API server folds `stringData` into `data`; a folder does not.
            let text = || secret.string_data.as_ref()?.get(name).map(|text| text.clone().into_bytes());
            String::from_utf8(bytes.or_else(text)?).ok()
        };
        let (Some(chain_pem), Some(key_pem)) = (part("tls.crt"), part("tls.key")) else {
            tracing::warn!(secret = %id, "Secret lacks a readable tls.crt or tls.key; what was served goes on");
            return;
        };
        let certificate = Arc::new(Certificate { chain_pem, key_pem });
        let held = self.live.certificates.insert(id, CertificateState::Present(certificate.clone()));
        let same = matches!(held, Some(CertificateState::Present(held)) if *held == *certificate);
        if !same {
            self.touched.extend(self.gateways.keys().cloned());
        }
    }

    fn take_plugins(&mut self) {
        let images =
            self.gateways.values().flat_map(|served| served.config.plugins.values().map(|p| p.image.clone()));
        for image in images.collect::<BTreeSet<_>>() {
            if let Some(sha256) = self.plugins.digest(&image) {
                let uri = format!("{}/v1/plugins/{sha256}", self.plugin_source);
                self.live.plugins.entry(image).or_insert_with(|| Arc::new(PluginFact { sha256, uri }));
            }
        }
        self.touched.extend(self.gateways.keys().cloned());
    }

    /// Publishes what was touched. Before the cluster's objects were listed nothing is: unknown is not empty.
    fn publish(&mut self) {
        let Some(pinned) = self.pinned.clone() else { return };
        if !self.services.is_listed() || !self.secrets_listed {
            return;
        }
        let demand = self.publisher.demand().borrow().clone();
        for id in std::mem::take(&mut self.touched) {
            let Some(served) = self.gateways.get_mut(&id) else { continue };
            let Some(config) = with_plugins(&served.config, &self.plugins) else {
                tracing::info!(gateway = %id, "held back until its plugins are here; what is served goes on");
                continue;
            };
            let group = group_of(&id);
            let changes = served.translator.update(&config, &self.live);
            tracing::debug!(gateway = %id, upserted = changes.upserted.len(), removed = changes.removed.len(), "publish");
            self.publisher.publish(
                &group,
                Form::Gateway,
                pinned.hash.as_str(),
                served.translator.resources(),
            );
            if demand.contains(&(group.clone(), Form::Envoy)) {
                let resources = served.translator.envoy_resources();
                self.publisher.publish(&group, Form::Envoy, pinned.hash.as_str(), resources);
            }
        }
    }

    fn report(&self) {
        let Some(pinned) = &self.pinned else { return };
        let gateways = self.gateways.iter().map(|(id, served)| {
            let summary = self.publisher.ledger().summary(&group_of(id));
            let report = GatewayReport {
                connected: summary.connected(),
                acked: summary.acked(&pinned.hash),
                nacks: summary.nacks().map(|(node, nack)| (Arc::from(node), nack.clone())).collect(),
                absent_backends: self.absent_backends(&served.config),
                missing_certificates: self.missing_certificates(&served.config),
            };
            (id.clone(), report)
        });
        let report = RelayReport {
            revision: pinned.revision.clone(),
            hash: pinned.hash.clone(),
            gateways: gateways.collect(),
            plugins: self.plugins.states(),
        };
        self.reports.send_if_modified(|held| {
            let differs = *held != report;
            if differs {
                *held = report;
            }
            differs
        });
    }

    fn absent_backends(&self, config: &GatewayConfig) -> Vec<String> {
        let absent = |id: &&BackendId| matches!(self.live.backends.get(*id), Some(BackendState::Absent));
        config.backends.keys().filter(absent).map(described).collect()
    }

    fn missing_certificates(&self, config: &GatewayConfig) -> Vec<String> {
        if !self.secrets_listed {
            return Vec::new();
        }
        let chains = config.listeners.values().flat_map(|listener| &listener.chains);
        let wanted: BTreeSet<_> =
            chains.filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| &tls.certificates).collect();
        wanted
            .into_iter()
            .filter(|id| !self.live.certificates.contains_key(*id))
            .map(ToString::to_string)
            .collect()
    }
}

/// The configuration as it can be served with the plugins that are here: as it is when all are; without those that may fail
/// open and cannot be had; `None` while one that must run is missing, or one is still on its way.
fn with_plugins(config: &Arc<GatewayConfig>, plugins: &PluginCache) -> Option<Arc<GatewayConfig>> {
    let mut left_out = BTreeSet::new();
    for (name, plugin) in &config.plugins {
        match (plugins.state(&plugin.image), plugin.failure_policy) {
            (Some(PluginState::Cached(_)), _) => {}
            (Some(PluginState::Failing(_)), FailurePolicy::FailOpen) => {
                left_out.insert(name.clone());
            }
            _ => return None,
        }
    }
    if left_out.is_empty() {
        return Some(config.clone());
    }
    let mut reduced = config.as_ref().clone();
    for listener in reduced.listeners.values_mut() {
        let listener = Arc::make_mut(listener);
        listener.chains.iter_mut().for_each(|chain| chain.plugins.retain(|name| !left_out.contains(name)));
    }
    Some(Arc::new(reduced))
}

/// A backend as users know it.
fn described(id: &BackendId) -> String {
    let BackendId::Service { namespace, name, port, .. } = id;
    format!("Service {namespace}/{name} port {port}")
}

/// A backend's state in the translator's words.
fn state_of(index: &ServiceIndex, backend: &BackendId) -> BackendState {
    let BackendId::Service { namespace, name, port, .. } = backend;
    match index.state(namespace, name, *port) {
        services::BackendState::Unknown => BackendState::Unknown,
        services::BackendState::Absent => BackendState::Absent,
        services::BackendState::Known(endpoints) => BackendState::Present(Arc::new(by_zone(endpoints))),
    }
}

fn by_zone(endpoints: Vec<ServiceEndpoint>) -> Endpoints {
    let mut zones: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for ServiceEndpoint { address, ready, zone } in endpoints {
        let endpoint = Endpoint {
            address: address.ip(),
            port: address.port(),
            ready,
            serving: true,
            terminating: false,
        };
        zones.entry(zone.unwrap_or_default()).or_default().push(endpoint);
    }
    let localities = zones.into_iter().map(|(zone, endpoints)| LocalityEndpoints {
        region: String::new(),
        zone,
        endpoints,
    });
    Endpoints { localities: localities.collect() }
}

fn same_state(a: &BackendState, b: &BackendState) -> bool {
    match (a, b) {
        (BackendState::Unknown, BackendState::Unknown) | (BackendState::Absent, BackendState::Absent) => true,
        (BackendState::Present(a), BackendState::Present(b)) => a == b,
        _ => false,
    }
}

fn secret_id(secret: &Secret) -> SecretId {
    SecretId {
        namespace: secret.metadata.namespace.clone().unwrap_or_default(),
        name: secret.metadata.name.clone().unwrap_or_default(),
    }
}
