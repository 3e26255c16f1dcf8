// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the filter that sets metadata.

use crate::decode::wasm_config::json_of;
use crate::decode::{Fault, Scope};
use crate::filters::{MetadataEntry, SetMetadata};
use gateway_xds_api::pb::envoy::extensions::filters::http::set_metadata::v3 as pb;
use gateway_xds_api::pb::google::protobuf::{Any, Struct};
use gateway_xds_api::unpack;
use serde_json::Value;

/// The listener's values.
#[allow(deprecated, reason = "older control planes send the deprecated fields still")]
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<SetMetadata, Fault> {
    let pb::Config { metadata_namespace, value, metadata } =
        unpack(any).map_err(|error| scope.fault(error))?;
    let mut entries = Vec::new();
    if let Some(value) = value {
        entries.push(entry(scope, metadata_namespace, true, value)?);
    }
    entries.extend(scope.each("metadata", metadata, |scope, metadata| {
        let pb::Metadata { metadata_namespace, allow_overwrite, value, typed_value } = metadata;
        if typed_value.is_some() {
            return Err(scope.field_fault("typed_value", "is not supported; use value"));
        }
        let value = scope.required("value", value)?;
        entry(scope, metadata_namespace, allow_overwrite, value)
    })?);
    Ok(SetMetadata(entries.into()))
}

fn entry(scope: &Scope, namespace: String, overwrite: bool, value: Struct) -> Result<MetadataEntry, Fault> {
    if namespace.is_empty() {
        return Err(scope.field_fault("metadata_namespace", "is empty"));
    }
    let Value::Object(values) = json_of(value) else {
        return Err(scope.field_fault("value", "is not an object"));
    };
    Ok(MetadataEntry { namespace: namespace.into(), overwrite, values })
}
