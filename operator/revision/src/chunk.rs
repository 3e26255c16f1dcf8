// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Compressed pieces of a revision, named by what they hold.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Compressed bytes of a chunk stay below this.
pub const CHUNK_LIMIT: usize = 900 * 1024;
/// Bytes before compression; below [`CHUNK_LIMIT`] even if nothing compresses.
pub(crate) const RAW_LIMIT: usize = 850 * 1024;
/// Fast enough for the path of a change; higher levels gain little on small chunks.
const LEVEL: i32 = 3;

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// A piece to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// SHA-256 of the uncompressed bytes in lower-case hex.
    pub name: String,
    /// zstd-compressed bytes.
    pub data: Bytes,
}

impl Chunk {
    pub(crate) fn new(raw: &[u8]) -> Result<Self, std::io::Error> {
        let data = zstd::bulk::compress(raw, LEVEL)?;
        Ok(Self { name: hex(&hash(raw)), data: data.into() })
    }
}

/// Uncompresses a stored chunk; none where it is malformed, too large, or not what its name says.
pub(crate) fn read(name: &str, data: &[u8]) -> Option<Vec<u8>> {
    if data.len() > CHUNK_LIMIT {
        return None;
    }
    let raw = zstd::bulk::decompress(data, RAW_LIMIT).ok()?;
    (hex(&hash(&raw)) == name).then_some(raw)
}

pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

pub(crate) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
