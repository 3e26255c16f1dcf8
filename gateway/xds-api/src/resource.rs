// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Packed resources: encoded once, versioned by content, shared by all streams.

use crate::ResourceType;
use bytes::Bytes;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use sha2::{Digest, Sha256};
use std::fmt;

/// One resource as it travels: encoded bytes and the version that its content gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedResource {
    /// The resource's name on the wire.
    pub name: String,
    /// First 16 hex digits of the SHA-256 over the type URL and the bytes.
    pub version: String,
    /// The packed message.
    pub value: Bytes,
    /// Who wrote it: text such as `HTTPRoute shop/cart rule 3`; empty where there is no single origin.
    pub origin: String,
}

impl fmt::Debug for PackedResource {
    /// Leaves the value out: it may hold a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedResource")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("bytes", &self.value.len())
            .field("origin", &self.origin)
            .finish()
    }
}

/// Encodes a resource and gives it its version.
#[must_use]
pub fn pack<M: Message>(
    kind: ResourceType,
    name: impl Into<String>,
    message: &M,
    origin: impl Into<String>,
) -> PackedResource {
    pack_encoded(kind, name, message.encode_to_vec(), origin)
}

/// Gives an encoded resource its version.
#[must_use]
pub fn pack_encoded(
    kind: ResourceType,
    name: impl Into<String>,
    value: Vec<u8>,
    origin: impl Into<String>,
) -> PackedResource {
    let mut hash = Sha256::new();
    hash.update(kind.type_url().as_bytes());
    hash.update(&value);
    let version = hash.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
    PackedResource { name: name.into(), version, value: value.into(), origin: origin.into() }
}

/// Why an `Any` could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It holds another type.
    #[error("expected {expected}, got {got}")]
    Type {
        /// The type that was asked for.
        expected: String,
        /// The type that it says it is.
        got: String,
    },
    /// Its bytes are not that message.
    #[error("malformed {0}")]
    Malformed(String, #[source] prost::DecodeError),
}

/// Reads the message in an `Any`.
///
/// # Errors
/// Where the type URL differs or the bytes do not decode.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, UnpackError> {
    let got = any.type_url.rsplit('/').next().unwrap_or_default();
    if got != M::full_name() {
        return Err(UnpackError::Type { expected: M::full_name(), got: any.type_url.clone() });
    }
    M::decode(any.value.as_slice()).map_err(|e| UnpackError::Malformed(M::full_name(), e))
}
