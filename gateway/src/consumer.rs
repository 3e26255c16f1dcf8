// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Applies what comes from the relay: compiled by the store, served by the proxy, then acknowledged.

use crate::ledger::Noted;
use crate::plugins::Plugins;
use crate::process::Shared;
use crate::source;
use bytes::Bytes;
use futures::future::join_all;
use gateway_config::{Rejection as Refused, WasmFilter, plugins_of};
use gateway_wasm::ModuleKey;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_client::{Applied, Consumer, Preparation, Rejection, Update, Wanted};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The gateway as the client sees it.
#[derive(Debug)]
pub(crate) struct GatewayConsumer {
    shared: Arc<Shared>,
    plugins: Plugins,
    /// Modules by the listener that needs them; what no listener needs is forgotten.
    modules: HashMap<String, HashSet<ModuleKey>>,
}

impl GatewayConsumer {
    pub(crate) fn new(shared: Arc<Shared>, plugins: Plugins) -> Self {
        Self { shared, plugins, modules: HashMap::new() }
    }

    /// Notes what a listener needs, in the version that is served or may come to be; gives its plugins.
    pub(crate) fn note_listener(&mut self, name: &str, packed: &Bytes) -> Vec<Arc<WasmFilter>> {
        if !names_plugin(packed) {
            return Vec::new();
        }
        let any = Any { type_url: ResourceType::Listener.type_url().to_owned(), value: packed.to_vec() };
        let plugins = plugins_of(&any);
        let keys = plugins.iter().map(|plugin| ModuleKey::of(&plugin.module));
        self.modules.entry(name.to_owned()).or_default().extend(keys);
        plugins
    }

    /// Forgets what no listener needs any more.
    fn forget_modules(&mut self, update: &Update) {
        let before = self.modules.len();
        let plain = |name: &String| update.upserts.iter().any(|u| u.name == *name && !names_plugin(&u.value));
        self.modules.retain(|listener, _| !update.removals.contains(listener) && !plain(listener));
        if self.modules.len() != before {
            self.plugins.retain(&self.modules.values().flatten().cloned().collect());
        }
    }
}

impl Consumer for GatewayConsumer {
    /// Fetches and compiles the plugins of new listeners, all at once.
    fn prepare(&mut self, update: &Update) -> Option<Preparation> {
        if update.kind != ResourceType::Listener {
            return None;
        }
        let mut waiting = Vec::new();
        for upsert in &update.upserts {
            for plugin in self.note_listener(&upsert.name, &upsert.value) {
                let (plugins, shared) = (self.plugins.clone(), self.shared.clone());
                let (kind, upsert) = (update.kind, upsert.clone());
                waiting.push(async move {
                    let failed = plugins.prepare(&plugin).await.err()?;
                    let message = format!("plugin {:?} cannot be used: {}", plugin.name, chain(&failed));
                    shared.ledger.lock().note_rejected(kind, &upsert, &message);
                    Some(Rejection {
                        transient: failed.is_transient(),
                        ..Rejection::new(upsert.name, message)
                    })
                });
            }
        }
        (!waiting.is_empty()).then(|| -> Preparation {
            Box::pin(async move { join_all(waiting).await.into_iter().flatten().collect() })
        })
    }

    async fn apply(&mut self, update: Update) -> Applied {
        let kind = update.kind;
        if kind == ResourceType::Listener {
            self.forget_modules(&update);
        }
        let mut update = update;
        let noted = Noted::of(&update);
        let undone = source::refuse(&self.shared.bootstrap, &mut update);
        let names: Vec<String> = update.upserts.iter().map(|upsert| upsert.name.clone()).collect();
        self.shared.ledger.lock().before(&update, &self.shared.store.lock());
        let upserts = update.upserts.into_iter().map(|upsert| {
            let value = Vec::from(upsert.value);
            (upsert.name, Any { type_url: kind.type_url().to_owned(), value })
        });
        let update = gateway_config::Update { kind, upserts: upserts.collect(), removals: update.removals };
        let mut compiled = self.shared.store.lock().apply(update);
        for warning in &compiled.warnings {
            tracing::warn!(%kind, resource = warning.name, warning.message, "field has no effect");
        }
        let refused = |Refused { name, message }| Rejection::new(name, message);
        let mut rejections: Vec<_> =
            std::mem::take(&mut compiled.rejections).into_iter().map(refused).chain(undone).collect();
        if let Some(snapshot) = compiled.snapshot.take() {
            rejections.extend(self.install(snapshot, kind, &names).await);
        }
        self.shared.ledger.lock().after(noted, &rejections, &compiled, &self.shared.store.lock());
        Applied { rejections, wanted: compiled.wanted, unwanted: compiled.unwanted }
    }

    fn wanted(&self) -> Wanted {
        let mut wanted: Wanted = BTreeMap::new();
        for (kind, name) in self.shared.store.lock().wanted() {
            wanted.entry(kind).or_default().insert(name);
        }
        wanted
    }
}

impl GatewayConsumer {
    /// Lets the proxy serve it. A listener of this update that cannot be bound is rejected by the system's reason.
    async fn install(
        &self,
        snapshot: Arc<gateway_config::Snapshot>,
        kind: ResourceType,
        names: &[String],
    ) -> Vec<Rejection> {
        let generation = snapshot.generation;
        let installed = self.shared.proxy.install(snapshot).await;
        self.shared.changed.notify_one();
        let Err(error) = installed else {
            tracing::debug!(generation, "configuration installed");
            return Vec::new();
        };
        tracing::error!(generation, %error, "configuration is not served in all parts");
        let own = error
            .failures
            .iter()
            .filter(|failure| kind == ResourceType::Listener && names.contains(&failure.listener));
        own.map(|failure| Rejection::new(failure.listener.clone(), chain(failure))).collect()
    }
}

/// Whether the bytes of a listener may name a plugin; decoding all listeners twice would cost more.
fn names_plugin(listener: &[u8]) -> bool {
    const TYPE: &[u8] = b"filters.http.wasm";
    listener.windows(TYPE.len()).any(|window| window == TYPE)
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
