// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Plugins of a cluster: fetched once from their registries, handed to every gateway.

use crate::objects::Objects;
use async_trait::async_trait;
use bytes::Bytes;
use gateway_oci::{Credentials, Fetcher};
use k8s_openapi::api::core::v1::Secret;
use operator_ir::Plugin;
use operator_xds_server::{PluginError, PluginStore};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// First and longest wait between two tries to fetch a plugin.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The key of a registry Secret (Kubernetes, type kubernetes.io/dockerconfigjson).
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// How far a plugin is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginState {
    /// It is being fetched.
    Fetching,
    /// It is here; SHA-256 of the module.
    Cached(String),
    /// It could not be had yet, and why; tries go on.
    Failing(String),
}

/// Fetches plugins and keeps them. Clones share it.
#[derive(Clone, Debug)]
pub struct PluginCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fetcher: Fetcher,
    objects: Objects,
    /// Where pull Secrets are.
    namespace: String,
    states: Mutex<BTreeMap<String, PluginState>>,
    modules: Mutex<BTreeMap<String, Bytes>>,
    changes: watch::Sender<u64>,
}

impl PluginCache {
    /// A cache that reads pull Secrets from a namespace of the cluster.
    #[must_use]
    pub fn new(fetcher: Fetcher, objects: Objects, namespace: String) -> Self {
        let shared = Shared {
            fetcher,
            objects,
            namespace,
            states: Mutex::default(),
            modules: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Fetches a plugin, once, and again until it is there.
    pub(super) fn want(&self, plugin: &Plugin) {
        let mut states = self.shared.states.lock();
        if states.contains_key(&plugin.image) {
            return;
        }
        states.insert(plugin.image.clone(), PluginState::Fetching);
        drop(states);
        let shared = self.shared.clone();
        let (image, secret) = (plugin.image.clone(), plugin.pull_secret.clone());
        tokio::spawn(async move { shared.fetch_until_there(&image, secret.as_deref()).await });
    }

    /// The module's SHA-256, once it is here.
    pub(super) fn digest(&self, image: &str) -> Option<String> {
        match self.shared.states.lock().get(image)? {
            PluginState::Cached(sha256) => Some(sha256.clone()),
            PluginState::Fetching | PluginState::Failing(_) => None,
        }
    }

    /// How far a plugin is; `None` where it was never wanted.
    pub(super) fn state(&self, image: &str) -> Option<PluginState> {
        self.shared.states.lock().get(image).cloned()
    }

    /// Changes whenever a plugin's state does.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// All plugins that were ever wanted, by image reference.
    pub(super) fn states(&self) -> BTreeMap<String, PluginState> {
        self.shared.states.lock().clone()
    }
}

#[async_trait]
impl PluginStore for PluginCache {
    async fn plugin(&self, sha256: &str) -> Result<Option<Bytes>, PluginError> {
        Ok(self.shared.modules.lock().get(sha256).cloned())
    }
}

impl Shared {
    async fn fetch_until_there(&self, image: &str, secret: Option<&str>) {
        let mut wait = RETRY_MIN;
        loop {
            match self.fetch(image, secret).await {
                Ok((sha256, bytes)) => {
                    tracing::info!(image, sha256, size = bytes.len(), "plugin cached");
                    self.modules.lock().insert(sha256.clone(), bytes);
                    self.set(image, PluginState::Cached(sha256));
                    return;
                }
                Err(reason) => {
                    tracing::warn!(image, reason, "plugin not fetched");
                    self.set(image, PluginState::Failing(reason));
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn fetch(&self, image: &str, secret: Option<&str>) -> Result<(String, Bytes), String> {
        let credentials = match secret {
            Some(name) => Some(self.credentials(name, image).await?),
            None => None,
        };
        let fetched = self.fetcher.fetch(image, credentials.as_ref()).await;
        let plugin = fetched.map_err(|error| crate::objects::chain(&error))?;
        Ok((plugin.sha256, plugin.bytes))
    }

    async fn credentials(&self, name: &str, image: &str) -> Result<Credentials, String> {
        let place = format!("pull Secret {}/{name}", self.namespace);
        let found: Option<Secret> =
            self.objects.get(&self.namespace, name).await.map_err(|e| crate::objects::chain(&e))?;
        let secret =
            found.ok_or_else(|| format!("{place} does not exist in this cluster; create it there"))?;
        let config = secret.data.as_ref().and_then(|data| data.get(DOCKER_CONFIG));
        let config = config.ok_or_else(|| format!("{place} has no key {DOCKER_CONFIG}"))?;
        credentials_for(&config.0, image)
            .ok_or_else(|| format!("{place} has no entry for the registry of {image}"))
    }

    fn set(&self, image: &str, state: PluginState) {
        self.states.lock().insert(image.to_owned(), state);
        self.changes.send_modify(|count| *count += 1);
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// `base64(username:password)`, the older form.
    #[serde(default)]
    auth: String,
}

fn credentials_for(config: &[u8], image: &str) -> Option<Credentials> {
    use base64::Engine as _;
    let registry = image.split('/').next()?;
    let config: DockerConfig = serde_json::from_slice(config).ok()?;
    let bare = |key: &str| {
        key.trim_start_matches("https://").trim_start_matches("http://").split('/').next() == Some(registry)
    };
    let found = config.auths.into_iter().find(|(key, _)| bare(key))?.1;
    if !found.username.is_empty() {
        return Some(Credentials { username: found.username, password: found.password });
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(found.auth).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials { username: username.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::credentials_for;

    #[test]
    fn both_forms_of_a_docker_config_are_read() {
        let config = br#"{"auths": {"https://r.example/v1/": {"auth": "YTpiOmM="}, "s.example": {"username": "u", "password": "p"}}}"#;
        let first = credentials_for(config, "r.example/x@sha256:0").unwrap();
        assert_eq!((first.username.as_str(), first.password.as_str()), ("a", "b:c"));
        assert_eq!(credentials_for(config, "s.example/x").unwrap().username, "u");
        assert!(credentials_for(config, "t.example/x").is_none());
        assert!(!format!("{first:?}").contains("b:c"));
    }
}
