// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The list of a revision's chunks; its hash is the revision's.

use crate::chunk::{Hash, hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use operator_ir::GatewayId;
use serde::{Deserialize, Serialize};

/// The encoding that this crate writes and reads.
const FORMAT: u32 = 1;
/// Most buckets of a revision.
pub(crate) const MOST_BUCKETS: usize = 8192;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// Digest of the workload template that belongs to the configuration.
    pub(crate) template: String,
    /// All gateways, those without a part included.
    pub(crate) gateways: Vec<GatewayId>,
    /// Base64 of the buckets' hashes in order; zeros for an empty bucket.
    buckets: String,
}

impl Manifest {
    pub(crate) fn new(template: String, gateways: Vec<GatewayId>, buckets: &[Option<Hash>]) -> Self {
        let bytes: Vec<u8> = buckets.iter().flat_map(|hash| hash.unwrap_or_default()).collect();
        Self { format: FORMAT, template, gateways, buckets: STANDARD.encode(bytes) }
    }

    pub(crate) fn read(raw: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(raw).ok().filter(|manifest| manifest.format == FORMAT)
    }

    /// Names of the buckets' chunks; none for an empty bucket. None at all where the list is malformed.
    pub(crate) fn chunks(&self) -> Option<Vec<Option<String>>> {
        let bytes = STANDARD.decode(&self.buckets).ok()?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() > MOST_BUCKETS || !hashes.len().is_power_of_two() {
            return None;
        }
        Some(hashes.iter().map(|hash| hash.iter().any(|byte| *byte != 0).then(|| hex(hash))).collect())
    }
}
