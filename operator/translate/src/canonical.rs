// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Deterministic bytes where the generated types would hash a map: origins in metadata, the access log's fields.
//!
//! A protobuf message may list its fields in any order, so a field is added to an encoded message by writing it behind.

use crate::names;
use gateway_xds_api::pb::google::protobuf::{Any, Value, value::Kind};
use operator_ir::Origin;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{Message, Name};

/// Field of `Route.metadata`.
pub(crate) const ROUTE_METADATA: u32 = 4;
/// Field of `FilterChain.metadata`.
pub(crate) const CHAIN_METADATA: u32 = 5;
/// Field of `Cluster.metadata`.
pub(crate) const CLUSTER_METADATA: u32 = 25;

/// Packs a message whose maps have one entry at most.
pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    any_of::<M>(message.encode_to_vec())
}

/// Packs an encoded message.
pub(crate) fn any_of<M: Name>(value: Vec<u8>) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value }
}

/// Adds a message or string field behind an encoded message.
pub(crate) fn append(buffer: &mut Vec<u8>, field: u32, value: &[u8]) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(value.len() as u64, buffer);
    buffer.extend_from_slice(value);
}

/// An encoded `google.protobuf.Struct` with its fields in the given order.
pub(crate) fn structure(fields: &[(&str, Kind)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind) in fields {
        let mut entry = Vec::new();
        append(&mut entry, 1, name.as_bytes());
        append(&mut entry, 2, &Value { kind: Some(kind.clone()) }.encode_to_vec());
        append(&mut bytes, 1, &entry);
    }
    bytes
}

/// An encoded `envoy.config.core.v3.Metadata` that names an origin.
pub(crate) fn metadata(origin: &Origin) -> Vec<u8> {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let mut fields = vec![
        ("kind", text(origin.object.kind.as_str())),
        ("namespace", text(&origin.object.namespace)),
        ("name", text(&origin.object.name)),
    ];
    if let Some(rule) = origin.rule {
        fields.push(("rule", Kind::NumberValue(f64::from(rule))));
    }
    let mut entry = Vec::new();
    append(&mut entry, 1, names::METADATA.as_bytes());
    append(&mut entry, 2, &structure(&fields));
    let mut bytes = Vec::new();
    append(&mut bytes, 1, &entry);
    bytes
}

#[cfg(test)]
mod tests {
    use super::metadata;
    use gateway_xds_api::pb::envoy::config::core::v3::Metadata;
    use gateway_xds_api::pb::google::protobuf::value::Kind;
    use operator_ir::{ObjectKind, ObjectRef, Origin};
    use prost::Message;

    #[test]
    fn metadata_reads_back() {
        let object = ObjectRef::new(ObjectKind::HTTPRoute, "shop", "cart");
        let bytes = metadata(&Origin { object, rule: Some(3) });
        let read = Metadata::decode(&*bytes).unwrap();
        let fields = &read.filter_metadata["gatefleet.dev"].fields;
        let kind = |name: &str| fields[name].kind.clone().unwrap();
        assert_eq!(kind("kind"), Kind::StringValue("HTTPRoute".into()));
        assert_eq!(kind("namespace"), Kind::StringValue("shop".into()));
        assert_eq!(kind("name"), Kind::StringValue("cart".into()));
        assert_eq!(kind("rule"), Kind::NumberValue(3.0));
        assert_eq!(read.encode_to_vec().len(), bytes.len());
    }
}
