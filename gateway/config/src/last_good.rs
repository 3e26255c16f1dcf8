// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The last good configuration as bytes: packed resources with a checksum. Never private keys.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::google::protobuf::Any;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"gf-last1";
const CHECKSUM: usize = 32;
/// The longest name, bytes.
const MAX_NAME: usize = 4096;

/// Why stored bytes cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LastGoodError {
    /// They are not a stored configuration, or of another version.
    #[error("not a stored configuration of this version")]
    Format,
    /// They were damaged or cut off.
    #[error("the stored configuration is damaged")]
    Damaged,
}

/// Encodes resources; secrets are left out.
#[must_use]
pub fn encode<'a>(resources: impl IntoIterator<Item = (ResourceType, &'a str, &'a Bytes)>) -> Bytes {
    let mut out = BytesMut::from(&MAGIC[..]);
    for (kind, name, value) in resources {
        let (Some(code), Ok(name_length), Ok(value_length)) =
            (code_of(kind), u32::try_from(name.len()), u32::try_from(value.len()))
        else {
            continue;
        };
        if name.len() > MAX_NAME {
            continue;
        }
        out.put_u8(code);
        out.put_u32(name_length);
        out.put_slice(name.as_bytes());
        out.put_u32(value_length);
        out.put_slice(value);
    }
    let checksum = Sha256::digest(&out);
    out.put_slice(&checksum);
    out.freeze()
}

/// Decodes what [`encode`] wrote, into upserts for [`crate::ConfigStore`].
///
/// # Errors
/// Where the bytes are not such a configuration or were damaged.
pub fn decode(stored: &[u8]) -> Result<Vec<crate::Update>, LastGoodError> {
    let body_length = stored
        .len()
        .checked_sub(CHECKSUM)
        .filter(|length| *length >= MAGIC.len())
        .ok_or(LastGoodError::Format)?;
    let (body, checksum) = stored.split_at(body_length);
    let mut rest = body.strip_prefix(MAGIC.as_slice()).ok_or(LastGoodError::Format)?;
    if Sha256::digest(body).as_slice() != checksum {
        return Err(LastGoodError::Damaged);
    }
    let mut updates: Vec<_> = STORED
        .iter()
        .map(|kind| crate::Update { kind: *kind, upserts: Vec::new(), removals: Vec::new() })
        .collect();
    while rest.has_remaining() {
        let code = rest.try_get_u8().map_err(|_| LastGoodError::Damaged)?;
        let name = take(&mut rest)?;
        let name = std::str::from_utf8(name).map_err(|_| LastGoodError::Damaged)?.to_owned();
        let value = take(&mut rest)?.to_vec();
        let update = updates.get_mut(usize::from(code)).ok_or(LastGoodError::Damaged)?;
        update.upserts.push((name, Any { type_url: update.kind.type_url().to_owned(), value }));
    }
    Ok(updates)
}

/// What is stored, in the order in which it must be applied; a type's position is its code.
const STORED: [ResourceType; 5] = [
    ResourceType::Cluster,
    ResourceType::ClusterLoadAssignment,
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
    ResourceType::VirtualHost,
];

fn code_of(kind: ResourceType) -> Option<u8> {
    STORED.iter().position(|stored| *stored == kind).and_then(|at| u8::try_from(at).ok())
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], LastGoodError> {
    let length = rest.try_get_u32().map_err(|_| LastGoodError::Damaged)? as usize;
    let (taken, left) = rest.split_at_checked(length).ok_or(LastGoodError::Damaged)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::{LastGoodError, decode, encode};
    use bytes::Bytes;
    use gateway_xds_api::ResourceType;

    #[test]
    fn what_was_stored_comes_back_without_secrets() {
        let value = Bytes::from_static(b"value");
        let stored = encode([
            (ResourceType::Secret, "key", &value),
            (ResourceType::Listener, "listener/80", &value),
            (ResourceType::Cluster, "service/a", &value),
        ]);
        let updates = decode(&stored).unwrap();
        let names: Vec<_> = updates
            .iter()
            .flat_map(|u| {
                u.upserts.iter().map(move |(name, any)| (u.kind, name.as_str(), any.value.as_slice()))
            })
            .collect();
        assert_eq!(
            names,
            [
                (ResourceType::Cluster, "service/a", &b"value"[..]),
                (ResourceType::Listener, "listener/80", b"value")
            ]
        );
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let stored = encode([(ResourceType::Cluster, "a", &Bytes::from_static(b"b"))]);
        for at in 0..stored.len() {
            let mut damaged = stored.to_vec();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&stored[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(decode(b"").unwrap_err(), LastGoodError::Format);
    }
}
