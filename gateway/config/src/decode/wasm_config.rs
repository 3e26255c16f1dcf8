// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes proxy-wasm plugins.

use crate::decode::redirect::inline;
use crate::decode::{Fault, Scope, fields, type_name};
use crate::{WasmFailurePolicy, WasmFilter, WasmModule};
use bytes::Bytes;
use gateway_xds_api::pb::envoy::config::core::v3::{self as core, async_data_source, data_source};
use gateway_xds_api::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use gateway_xds_api::pb::envoy::extensions::wasm::v3::{self as pb, FailurePolicy, plugin_config};
use gateway_xds_api::pb::google::protobuf::{self, value::Kind};
use gateway_xds_api::unpack;
use std::time::Duration;

/// Limit of a fetch where none is set.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// A plugin.
#[allow(deprecated, reason = "`fail_open` is still sent")]
pub(crate) fn wasm(scope: &mut Scope, wasm: Wasm) -> Result<WasmFilter, Fault> {
    let plugin = scope.required("config", wasm.config)?;
    fields!(scope, plugin => pb::PluginConfig {
        use { name, root_id, configuration, fail_open, failure_policy, vm }
        warn { reload_config, capability_restriction_config }
        quiet { allow_on_headers_stop_iteration }
    });
    let failure_policy = match FailurePolicy::try_from(failure_policy) {
        Ok(FailurePolicy::Unspecified) if fail_open => WasmFailurePolicy::FailOpen,
        Ok(FailurePolicy::Unspecified | FailurePolicy::FailClosed) => WasmFailurePolicy::FailClosed,
        Ok(FailurePolicy::FailOpen) => WasmFailurePolicy::FailOpen,
        Ok(FailurePolicy::FailReload) => WasmFailurePolicy::FailReload,
        Err(_) => return Err(scope.field_fault("failure_policy", "is unknown")),
    };
    let plugin_config::Vm::VmConfig(vm) = scope.required("vm_config", vm)?;
    let plugin_configuration = scope.at("configuration", |scope| plain(scope, configuration))?;
    scope.at("vm_config", |scope| {
        fields!(scope, vm => pb::VmConfig {
            use { vm_id, runtime, code, configuration }
            warn { environment_variables, capability_restriction_config }
            quiet { allow_precompiled, nack_on_code_cache_miss }
        });
        if !runtime.is_empty() && !runtime.starts_with("envoy.wasm.runtime.") || runtime.ends_with(".null") {
            return Err(scope.field_fault("runtime", "must be a wasm runtime"));
        }
        let code = scope.required("code", code)?;
        let module = scope.at("code", |scope| module(scope, code))?;
        let vm_configuration = scope.at("configuration", |scope| plain(scope, configuration))?;
        let (name, root_id, vm_id) = (name.into(), root_id.into(), vm_id.into());
        Ok(WasmFilter {
            name,
            root_id,
            vm_id,
            module,
            configuration: plugin_configuration,
            vm_configuration,
            failure_policy,
        })
    })
}

fn module(scope: &mut Scope, code: core::AsyncDataSource) -> Result<WasmModule, Fault> {
    match scope.required("specifier", code.specifier)? {
        async_data_source::Specifier::Local(source) => match source.specifier {
            // Unlike other files: where plugins are mounted, reading them is the purpose.
            Some(data_source::Specifier::Filename(path)) => Ok(WasmModule::File(path.into())),
            specifier => scope
                .at("local", |scope| inline(scope, core::DataSource { specifier, ..source }))
                .map(WasmModule::Inline),
        },
        async_data_source::Specifier::Remote(remote) => scope.at("remote", |scope| {
            let core::RemoteDataSource { http_uri, sha256, retry_policy } = remote;
            scope.unused("retry_policy", &retry_policy);
            let uri = scope.required("http_uri", http_uri)?;
            if !["http://", "https://", "oci://"].iter().any(|scheme| uri.uri.starts_with(scheme)) {
                return Err(scope.field_fault("http_uri.uri", "must start with http://, https:// or oci://"));
            }
            let sha256 = sha256.to_ascii_lowercase();
            if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(scope.field_fault("sha256", "must have 64 hexadecimal digits"));
            }
            let timeout = scope.limit("http_uri.timeout", uri.timeout, None)?.unwrap_or(FETCH_TIMEOUT);
            Ok(WasmModule::Remote { uri: uri.uri.into(), sha256: sha256.into(), timeout })
        }),
    }
}

/// The bytes that a plugin gets: a string or bytes as they are, a Struct as JSON, anything else as it is packed (as Envoy does).
fn plain(scope: &Scope, any: Option<protobuf::Any>) -> Result<Bytes, Fault> {
    let Some(any) = any else { return Ok(Bytes::new()) };
    let failed = |error| scope.fault(error);
    Ok(match type_name(&any) {
        "google.protobuf.StringValue" => {
            unpack::<protobuf::StringValue>(&any).map_err(failed)?.value.into_bytes().into()
        }
        "google.protobuf.BytesValue" => unpack::<protobuf::BytesValue>(&any).map_err(failed)?.value.into(),
        "google.protobuf.Struct" => {
            let text = json_of(unpack::<protobuf::Struct>(&any).map_err(failed)?).to_string();
            text.into_bytes().into()
        }
        _ => any.value.into(),
    })
}

/// A Struct as JSON.
pub(crate) fn json_of(object: protobuf::Struct) -> serde_json::Value {
    // Sorted, so that the same message always gives the same bytes.
    let sorted: std::collections::BTreeMap<_, _> = object.fields.into_iter().collect();
    serde_json::Value::Object(sorted.into_iter().map(|(name, value)| (name, json_value(value))).collect())
}

/// Numbers of a Struct are floating point; whole ones are written without a fraction, as protobuf's JSON does.
fn json_value(value: protobuf::Value) -> serde_json::Value {
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked before")]
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            serde_json::Value::from(number as i64)
        }
        Some(Kind::NumberValue(number)) => serde_json::Value::from(number),
        Some(Kind::StringValue(text)) => serde_json::Value::String(text),
        Some(Kind::BoolValue(truth)) => serde_json::Value::Bool(truth),
        Some(Kind::StructValue(object)) => json_of(object),
        Some(Kind::ListValue(list)) => {
            serde_json::Value::Array(list.values.into_iter().map(json_value).collect())
        }
    }
}
