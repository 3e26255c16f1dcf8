// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A fleet's configuration sealed: its hash, and its chunks as they are stored in members' Secrets.

use super::routing::FleetConfig;
use bytes::Bytes;
use multicluster_manifests::GatewayWorkload;
use operator_revision::{SealError, Sealer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Type of the Secrets that hold chunks.
pub const CHUNK_TYPE: &str = "gatefleet.dev/revision";
/// Key of the bytes in such a Secret.
pub const CHUNK_KEY: &str = "chunk";
/// Annotation of a FleetMember: hash of the configuration that it is pinned to, which is the name of its manifest.
pub const ANNOTATION_CONFIG_HASH: &str = "gatefleet.dev/config-hash";

/// Name of the Secret that holds a chunk of a fleet, the manifest included.
#[must_use]
pub fn chunk_secret_name(fleet: &str, hash: &str) -> String {
    format!("{fleet}-{hash}")
}

/// A sealed configuration.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Names it, and its manifest.
    pub(super) hash: String,
    /// Hashes of the chunks, the manifest first.
    pub(super) names: Vec<String>,
    /// Secrets by name.
    pub(super) secrets: BTreeMap<String, Bytes>,
}

/// Seals `config` with what else makes a revision of `fleet`.
pub(super) fn seal(
    sealer: &mut Sealer,
    fleet: &str,
    config: &FleetConfig,
    template: &str,
) -> Result<Body, SealError> {
    let revision = sealer.seal(&config.gateways, template)?;
    let chunks = std::iter::once(&revision.manifest).chain(&revision.chunks);
    let mut body = Body { hash: revision.hash.clone(), names: Vec::new(), secrets: BTreeMap::new() };
    for chunk in chunks {
        body.names.push(chunk.name.clone());
        body.secrets.insert(chunk_secret_name(fleet, &chunk.name), chunk.data.clone());
    }
    Ok(body)
}

/// Digest of everything of a revision that is not routing: template, overrides, plugins, workloads.
pub(super) fn template_digest(spec: &crds::GatewayFleetSpec, workloads: &[GatewayWorkload]) -> String {
    let workloads: Vec<Value> = workloads
        .iter()
        .map(|workload| {
            let ports: Vec<_> =
                workload.ports.iter().map(|port| (port.port, port.protocol.as_str())).collect();
            json!({
                "id": workload.id.to_string(), "ports": ports, "labels": workload.labels,
                "annotations": workload.annotations, "addresses": workload.addresses,
            })
        })
        .collect();
    let content = json!({
        "template": spec.template, "overrides": spec.overrides, "plugins": spec.plugins, "workloads": workloads,
    });
    Sha256::digest(content.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
