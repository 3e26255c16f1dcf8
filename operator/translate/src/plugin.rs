// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! proxy-wasm plugins as HTTP filters.

use crate::wire::{any, millis};
use crate::{PluginModule, names};
use gateway_xds_api::pb::envoy::config::core::v3 as core;
use gateway_xds_api::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use gateway_xds_api::pb::envoy::extensions::wasm::v3 as wasm;
use gateway_xds_api::pb::google::protobuf::StringValue;
use operator_ir::{FailurePolicy, Plugin};

/// Longest wait for a module from the relay.
const FETCH_MS: u64 = 10_000;

/// A plugin as a filter; its module comes from the relay's cache.
pub(crate) fn filter(plugin: &Plugin, module: &PluginModule, source: &str) -> hcm::HttpFilter {
    let code = core::AsyncDataSource {
        specifier: Some(core::async_data_source::Specifier::Remote(core::RemoteDataSource {
            http_uri: Some(core::HttpUri {
                uri: format!("{source}/v1/plugins/{}", module.sha256),
                timeout: Some(millis(FETCH_MS)),
                http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(names::RELAY.to_owned())),
            }),
            sha256: module.sha256.clone(),
            ..Default::default()
        })),
    };
    let vm = wasm::VmConfig {
        vm_id: plugin.name.clone(),
        runtime: "envoy.wasm.runtime.v8".to_owned(),
        code: Some(code),
        ..Default::default()
    };
    let policy = match plugin.failure_policy {
        FailurePolicy::FailOpen => wasm::FailurePolicy::FailOpen,
        FailurePolicy::FailClosed => wasm::FailurePolicy::FailClosed,
    };
    let config = wasm::PluginConfig {
        name: plugin.name.clone(),
        root_id: plugin.name.clone(),
        configuration: Some(any(&StringValue { value: plugin.config.clone() })),
        failure_policy: policy.into(),
        vm: Some(wasm::plugin_config::Vm::VmConfig(vm)),
        ..Default::default()
    };
    hcm::HttpFilter {
        name: format!("gatefleet.plugin.{}", plugin.name),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&Wasm { config: Some(config) }))),
        ..Default::default()
    }
}
