// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Plugins before they are used: fetched from the relay, verified, kept on disk, compiled, tried out.

use bytes::Bytes;
use gateway_config::{WasmFilter, WasmModule};
use gateway_wasm::{ModuleKey, WasmError, WasmHost};
use gateway_xds_client::{Backoff, RelayClient, RelayError};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Largest module that is fetched, bytes; the host compiles only smaller ones.
const LARGEST: usize = 256 * 1024 * 1024;
/// Time of a fetch, whatever the configuration says.
const LONGEST: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_secs(10);

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    /// The relay does not hand it out.
    #[error("module {sha256} cannot be fetched from the relay")]
    Fetch {
        /// Its digest.
        sha256: String,
        /// The relay's reason.
        #[source]
        source: RelayError,
    },
    /// There is no relay to fetch it from.
    #[error(
        "module {0} cannot be fetched: remote modules come from a fleet's relay, and controlPlane is none; use code.local"
    )]
    NoRelay(String),
    /// What came is something else.
    #[error("module has sha256 {got}, expected {expected}")]
    Digest {
        /// What was asked for.
        expected: String,
        /// What came.
        got: String,
    },
    /// A file cannot be read.
    #[error("module file {path} cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The host does not take it.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// The work was broken off.
    #[error("gateway is ending")]
    Ending,
}

impl PluginError {
    /// Whether the same module may be had later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::File { .. })
    }
}

/// Gets plugins ready.
#[derive(Clone, Debug)]
pub(crate) struct Plugins {
    host: WasmHost,
    relay: Option<RelayClient>,
    folder: PathBuf,
}

impl Plugins {
    pub(crate) fn new(host: WasmHost, relay: Option<RelayClient>, state: &Path) -> Self {
        Self { host, relay, folder: state.join("plugins") }
    }

    /// Makes a plugin ready to be started on workers: its module is there, and it takes its configuration.
    pub(crate) async fn prepare(&self, plugin: &Arc<WasmFilter>) -> Result<(), PluginError> {
        let key = ModuleKey::of(&plugin.module);
        let bytes = if self.host.has(&key) { None } else { Some(self.bytes(&plugin.module).await?) };
        let (host, plugin) = (self.host.clone(), plugin.clone());
        let compiled = tokio::task::spawn_blocking(move || {
            if let Some(bytes) = bytes {
                host.prepare(key, &bytes)?;
            }
            host.try_out(&plugin.name, &plugin)
        });
        compiled.await.map_err(|_| PluginError::Ending)?.map_err(PluginError::Wasm)
    }

    /// Makes a plugin of a configuration from disk ready, as often as it takes: nobody sends that configuration again.
    pub(crate) async fn prepare_in_the_end(self, plugin: Arc<WasmFilter>) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        while let Err(error) = self.prepare(&plugin).await {
            report(&plugin.name, &error);
            if !error.is_transient() {
                return;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Forgets the modules that are not among those in use.
    pub(crate) fn retain(&self, used: &HashSet<ModuleKey>) {
        self.host.retain(|key| used.contains(key));
    }

    async fn bytes(&self, module: &WasmModule) -> Result<Bytes, PluginError> {
        match module {
            WasmModule::Inline(bytes) => Ok(bytes.clone()),
            WasmModule::File(path) => {
                let path = PathBuf::from(&**path);
                let read = tokio::fs::read(&path).await;
                read.map(Bytes::from).map_err(|source| PluginError::File { path, source })
            }
            WasmModule::Remote { sha256, timeout, .. } => self.remote(sha256, *timeout).await,
        }
    }

    /// From disk where it is there and undamaged, else from the relay.
    async fn remote(&self, sha256: &str, timeout: Duration) -> Result<Bytes, PluginError> {
        let path = self.folder.join(format!("{sha256}.wasm"));
        if let Ok(bytes) = tokio::fs::read(&path).await
            && digest(&bytes) == sha256
        {
            return Ok(bytes.into());
        }
        let timeout = timeout.clamp(SHORTEST, LONGEST);
        let relay = self.relay.as_ref().ok_or_else(|| PluginError::NoRelay(sha256.to_owned()))?;
        let fetched = relay.get(&format!("/v1/plugins/{sha256}"), LARGEST, timeout).await;
        let bytes = fetched.map_err(|source| PluginError::Fetch { sha256: sha256.to_owned(), source })?;
        let got = digest(&bytes);
        if got != sha256 {
            return Err(PluginError::Digest { expected: sha256.to_owned(), got });
        }
        if let Err(error) = self.keep(&path, &bytes).await {
            tracing::warn!(%error, path = %path.display(), "module cannot be kept on disk; it is fetched again after a restart");
        }
        tracing::info!(sha256, bytes = bytes.len(), "module fetched");
        Ok(bytes)
    }

    async fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        tokio::fs::create_dir_all(&self.folder).await?;
        let beside = path.with_extension("new");
        tokio::fs::write(&beside, bytes).await?;
        tokio::fs::rename(&beside, path).await
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(plugin: &str, error: &PluginError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(plugin, error, "plugin of the last good configuration cannot be used");
}
