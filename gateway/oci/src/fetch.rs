// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One plugin from a registry, or from the cache.

use crate::OciError;
use crate::cache::Cache;
use crate::layer;
use crate::manifest::{MAX_LAYER, plugin_layer};
use bytes::Bytes;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// Largest manifest, in bytes (OCI distribution spec, "Pushing Manifests").
const MAX_MANIFEST: usize = 4 << 20;
/// Longest wait for a whole artifact.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest wait for a connection and between two reads.
const STALL: Duration = Duration::from_secs(20);
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// How plugins are fetched.
#[derive(Clone, Debug, Default)]
pub struct FetcherOptions {
    /// Folder for modules that were fetched.
    pub cache: PathBuf,
    /// Registries that are spoken to in plain HTTP, as `host:port`.
    pub plain_http: Vec<String>,
}

/// Name and password for a registry.
#[derive(Clone)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A plugin's module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// SHA-256 of the module, in hex.
    pub sha256: String,
    /// The module.
    pub bytes: Bytes,
}

/// Fetches plugins.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    cache: Cache,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher with its cache. A crypto provider must have been installed for the process.
    #[must_use]
    pub fn new(options: FetcherOptions) -> Self {
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(options.plain_http),
            connect_timeout: Some(STALL),
            read_timeout: Some(STALL),
            ..ClientConfig::default()
        };
        Self { client: Client::new(config), cache: Cache::new(options.cache) }
    }

    /// The plugin that a reference with digest names.
    ///
    /// # Errors
    /// Where the reference has no digest, the registry cannot be read, or the content is not a plugin of that digest.
    pub async fn fetch(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Plugin, OciError> {
        let image: Reference = reference.parse().map_err(|_| OciError::Reference(reference.to_owned()))?;
        let digest = image.digest().and_then(|d| d.strip_prefix("sha256:")).map(str::to_owned);
        let digest = digest.ok_or_else(|| OciError::NoDigest(reference.to_owned()))?;
        if let Some(plugin) = self.cache.get(&digest) {
            return Ok(plugin);
        }
        let timeout = || OciError::Timeout { reference: reference.to_owned(), seconds: LIMIT.as_secs() };
        let pulled = tokio::time::timeout(LIMIT, self.pull(reference, &image, &digest, credentials));
        let plugin = pulled.await.map_err(|_| timeout())??;
        if let Err(error) = self.cache.put(&digest, &plugin) {
            tracing::warn!(error = &error as &dyn std::error::Error, "plugin not cached");
        }
        Ok(plugin)
    }

    async fn pull(
        &self,
        reference: &str,
        image: &Reference,
        digest: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Plugin, OciError> {
        let auth = credentials
            .map_or(RegistryAuth::Anonymous, |c| RegistryAuth::Basic(c.username.clone(), c.password.clone()));
        let failed = |what, source| OciError::Registry {
            what,
            reference: reference.to_owned(),
            source: Box::new(source),
        };
        let raw = self.client.pull_manifest_raw(image, &auth, &MANIFESTS).await;
        let (manifest, _) = raw.map_err(|e| failed("read the manifest", e))?;
        if manifest.len() > MAX_MANIFEST {
            return Err(OciError::TooLarge { what: "the manifest", limit: MAX_MANIFEST as u64 });
        }
        check("the manifest", &manifest, digest)?;
        let (layer, packing) = plugin_layer(reference, &manifest)?;
        let mut content = Capped { content: Vec::new(), cap: layer.size.min(MAX_LAYER) };
        let pulled = self.client.pull_blob(image, layer.digest.as_str(), &mut content).await;
        pulled.map_err(|e| failed("read the layer", e))?;
        let wanted = layer.digest.strip_prefix("sha256:").unwrap_or(&layer.digest);
        check("the layer", &content.content, wanted)?;
        let bytes = layer::module(reference, packing, content.content)?;
        Ok(Plugin { sha256: sha256_hex(&bytes), bytes: bytes.into() })
    }
}

fn check(what: &'static str, content: &[u8], wanted: &str) -> Result<(), OciError> {
    let got = sha256_hex(content);
    if got == wanted { Ok(()) } else { Err(OciError::Digest { what, wanted: wanted.to_owned(), got }) }
}

pub(crate) fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects at most so many bytes; a registry that sends more than it announced is cut off.
struct Capped {
    content: Vec<u8>,
    cap: u64,
}

impl AsyncWrite for Capped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.content.len() as u64 + bytes.len() as u64 > self.cap {
            return Poll::Ready(Err(std::io::Error::other("more bytes than the manifest announced")));
        }
        self.content.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
