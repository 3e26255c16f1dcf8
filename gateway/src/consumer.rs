// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Applies what comes from the relay: compiled by the store, served by the proxy, then acknowledged.

use crate::plugins::Plugins;
use crate::process::Shared;
use futures::future::join_all;
use gateway_config::{Rejection as Refused, plugins_of};
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

    /// Notes the modules of a listener that is served from the start.
    pub(crate) fn note_modules(&mut self, listener: &str, modules: impl IntoIterator<Item = ModuleKey>) {
        self.modules.entry(listener.to_owned()).or_default().extend(modules);
    }

    fn forget_modules(&mut self, removals: &[String]) {
        let before = self.modules.len();
        self.modules.retain(|listener, _| !removals.contains(listener));
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
        for upsert in update.upserts.iter().filter(|upsert| names_plugin(&upsert.value)) {
            let packed = Any { type_url: update.kind.type_url().to_owned(), value: upsert.value.to_vec() };
            for plugin in plugins_of(&packed) {
                self.modules.entry(upsert.name.clone()).or_default().insert(ModuleKey::of(&plugin.module));
                let (plugins, listener) = (self.plugins.clone(), upsert.name.clone());
                waiting.push(async move {
                    let failed = plugins.prepare(&plugin).await.err()?;
                    let message = format!("plugin {:?} cannot be used: {}", plugin.name, chain(&failed));
                    Some(Rejection { name: listener, message })
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
            self.forget_modules(&update.removals);
        }
        let names: Vec<String> = update.upserts.iter().map(|upsert| upsert.name.clone()).collect();
        let upserts = update.upserts.into_iter().map(|upsert| {
            let value = Vec::from(upsert.value);
            (upsert.name, Any { type_url: kind.type_url().to_owned(), value })
        });
        let update = gateway_config::Update { kind, upserts: upserts.collect(), removals: update.removals };
        let compiled = self.shared.store.lock().apply(update);
        for warning in &compiled.warnings {
            tracing::warn!(%kind, resource = warning.name, warning.message, "field has no effect");
        }
        let refused = |Refused { name, message }| Rejection { name, message };
        let mut rejections: Vec<_> = compiled.rejections.into_iter().map(refused).collect();
        if let Some(snapshot) = compiled.snapshot {
            rejections.extend(self.install(snapshot, kind, &names).await);
        }
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
        own.map(|failure| Rejection { name: failure.listener.clone(), message: chain(failure) }).collect()
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
