// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay's work: pinned configuration and live data in, published resources and reports out.

use super::live::{self, LiveEvent};
use super::plugins::PluginCache;
use super::report::{GatewayReport, RelayReport};
use super::services::{self, ServiceIndex, ServiceName};
use super::{Known, group_of};
use crate::objects::{ObjectEvent, Objects};
use crate::pin::{PinReceiver, Pinned};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use operator_ir::{BackendId, BackendProtocol, GatewayConfig, GatewayId, SecretId};
use operator_translate::{BackendState, BindOptions, Certificate, LiveEndpoint, PluginModule, Translator};
use operator_xds_server::{Form, Publisher};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Most live events that are taken in before they are published; whatever waits then comes right after.
const BATCH: usize = 1024;

pub(super) struct ServeLoop {
    bind: BindOptions,
    publisher: Publisher,
    known: Known,
    plugins: PluginCache,
    reports: watch::Sender<RelayReport>,
    services: ServiceIndex,
    certificates: BTreeMap<SecretId, Certificate>,
    secrets_listed: bool,
    pinned: Option<Arc<Pinned>>,
    gateways: BTreeMap<GatewayId, Translator>,
    /// Gateways whose resources differ from what was published.
    touched: BTreeSet<GatewayId>,
}

impl ServeLoop {
    pub(super) fn new(
        bind: BindOptions,
        publisher: Publisher,
        known: Known,
        plugins: PluginCache,
        reports: watch::Sender<RelayReport>,
    ) -> Self {
        Self {
            bind,
            publisher,
            known,
            plugins,
            reports,
            services: ServiceIndex::default(),
            certificates: BTreeMap::new(),
            secrets_listed: false,
            pinned: None,
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
        let gone: Vec<_> = self.gateways.keys().filter(|id| !pinned.gateways.contains_key(id)).cloned().collect();
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
        self.take_plugins();
    }

    fn take_config(&mut self, id: &GatewayId, config: &Arc<GatewayConfig>) {
        let translator = self.gateways.entry(id.clone()).or_insert_with(|| Translator::new(self.bind.clone()));
        translator.set_config(config.clone());
        let unknown: Vec<_> = translator.unknown_backends().cloned().collect();
        for backend in unknown {
            if let Some(state) = state_of(&self.services, &backend) {
                translator.set_backend(&backend, state);
            }
        }
        for secret in translator.wanted_certificates() {
            let certificate = self.certificates.get(&secret).cloned();
            translator.set_certificate(&secret, certificate);
        }
        for plugin in config.plugins.values() {
            self.plugins.want(plugin);
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
            LiveEvent::Slice(ObjectEvent::Delete(slice)) => touched.extend(self.services.delete_slice(&slice)),
            LiveEvent::Slice(ObjectEvent::Listed) => self.services.slices_listed(),
            LiveEvent::Secret(ObjectEvent::Upsert(secret)) => self.take_secret(&secret),
            LiveEvent::Secret(ObjectEvent::Delete(secret)) => {
                self.certificates.remove(&secret_id(&secret));
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
        for (id, translator) in &mut self.gateways {
            let backends: Vec<_> = translator.config().backends.keys().cloned().collect();
            for backend in backends {
                if let Some(state) = state_of(&self.services, &backend) {
                    translator.set_backend(&backend, state);
                }
            }
            self.touched.insert(id.clone());
        }
    }

    fn take_service(&mut self, (namespace, name): &ServiceName) {
        let of = |port, protocol| BackendId::Service { namespace: namespace.clone(), name: name.clone(), port, protocol };
        let range = of(0, BackendProtocol::Http1)..=of(u16::MAX, BackendProtocol::Http2);
        for (id, translator) in &mut self.gateways {
            let backends: Vec<_> = translator.config().backends.range(range.clone()).map(|(id, _)| id.clone()).collect();
            for backend in backends {
                if let Some(state) = state_of(&self.services, &backend) {
                    translator.set_backend(&backend, state);
                    self.touched.insert(id.clone());
                }
            }
        }
    }

    fn take_secret(&mut self, secret: &Secret) {
        let id = secret_id(secret);
        let part = |name: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.clone());
            // An API server folds `stringData` into `data`; a folder does not.
            let text = || secret.string_data.as_ref()?.get(name).map(|text| text.clone().into_bytes());
            bytes.or_else(text)
        };
        let (Some(chain_pem), Some(key_pem)) = (part("tls.crt"), part("tls.key")) else {
            tracing::warn!(secret = %id, "Secret lacks tls.crt or tls.key; what was served goes on");
            return;
        };
        let certificate = Certificate { chain_pem, key_pem };
        for (gateway, translator) in &mut self.gateways {
            if translator.wanted_certificates().contains(&id) {
                translator.set_certificate(&id, Some(certificate.clone()));
                self.touched.insert(gateway.clone());
            }
        }
        self.certificates.insert(id, certificate);
    }

    fn take_plugins(&mut self) {
        for (id, translator) in &mut self.gateways {
            let images: Vec<_> = translator.config().plugins.values().map(|plugin| plugin.image.clone()).collect();
            for image in images {
                if let Some(sha256) = self.plugins.digest(&image) {
                    translator.set_plugin(&image, PluginModule { sha256 });
                    self.touched.insert(id.clone());
                }
            }
        }
    }

    /// Publishes what was touched. Before the cluster's objects were listed nothing is: unknown is not empty.
    fn publish(&mut self) {
        let Some(pinned) = self.pinned.clone() else { return };
        if !self.services.is_listed() || !self.secrets_listed {
            return;
        }
        let demand = self.publisher.demand().borrow().clone();
        for id in std::mem::take(&mut self.touched) {
            let Some(translator) = self.gateways.get(&id) else { continue };
            let group = group_of(&id);
            self.publisher.publish(&group, Form::Gateway, pinned.hash.as_str(), Arc::new(translator.resources().clone()));
            if demand.contains(&(group.clone(), Form::Envoy)) {
                self.publisher.publish(&group, Form::Envoy, pinned.hash.as_str(), Arc::new(translator.envoy_resources()));
            }
        }
    }

    fn report(&self) {
        let Some(pinned) = &self.pinned else { return };
        let gateways = self.gateways.iter().map(|(id, translator)| {
            let summary = self.publisher.ledger().summary(&group_of(id));
            let report = GatewayReport {
                connected: summary.connected(),
                acked: summary.acked(&pinned.hash),
                nacks: summary.nacks().map(|(node, nack)| (Arc::from(node), nack.clone())).collect(),
                absent_backends: translator.absent_backends().map(ToString::to_string).collect(),
                missing_certificates: self.missing_certificates(translator),
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

    fn missing_certificates(&self, translator: &Translator) -> Vec<String> {
        if !self.secrets_listed {
            return Vec::new();
        }
        let wanted = translator.wanted_certificates().into_iter();
        wanted.filter(|id| !self.certificates.contains_key(id)).map(|id| id.to_string()).collect()
    }
}

/// A backend's state in the translator's words; `None` while it is unknown.
fn state_of(index: &ServiceIndex, backend: &BackendId) -> Option<BackendState> {
    let BackendId::Service { namespace, name, port, .. } = backend;
    match index.state(namespace, name, *port) {
        services::BackendState::Unknown => None,
        services::BackendState::Absent => Some(BackendState::Absent),
        services::BackendState::Known(endpoints) => {
            let endpoints = endpoints.into_iter().map(|e| LiveEndpoint { address: e.address, zone: e.zone });
            Some(BackendState::Known(endpoints.collect()))
        }
    }
}

fn secret_id(secret: &Secret) -> SecretId {
    SecretId {
        namespace: secret.metadata.namespace.clone().unwrap_or_default(),
        name: secret.metadata.name.clone().unwrap_or_default(),
    }
}
