// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! proxy-wasm plugins as HTTP filters.

use crate::canonical::any;
use crate::value::seconds;
use crate::{PluginFact, names};
use gateway_xds_api::pb::envoy::config::core::v3::{
    AsyncDataSource, HttpUri, RemoteDataSource, async_data_source, http_uri,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter::ConfigType,
};
use gateway_xds_api::pb::envoy::extensions::wasm::v3::{
    FailurePolicy as EnvoyFailurePolicy, PluginConfig, VmConfig, plugin_config::Vm,
};
use gateway_xds_api::pb::google::protobuf::StringValue;
use operator_ir::{FailurePolicy, Plugin};

/// Longest wait for a module.
const FETCH_SECONDS: u32 = 30;

/// A plugin's filter. Without a fact the module cannot be fetched, and the plugin's failure policy decides.
pub(crate) fn filter(plugin: &Plugin, fact: Option<&PluginFact>) -> HttpFilter {
    let digest = plugin.image.rsplit_once("@sha256:").map_or("", |(_, digest)| digest);
    let (sha256, uri) = match fact {
        Some(fact) => (fact.sha256.clone(), fact.uri.clone()),
        None => (digest.to_owned(), format!("https://{}/v1/plugins/{digest}", names::PLUGIN_CLUSTER)),
    };
    let remote = RemoteDataSource {
        http_uri: Some(HttpUri {
            uri,
            timeout: seconds(FETCH_SECONDS),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(names::PLUGIN_CLUSTER.to_owned())),
        }),
        sha256,
        ..RemoteDataSource::default()
    };
    let vm = VmConfig {
        // Plugins of one module share it, their configurations do not.
        vm_id: digest.to_owned(),
        runtime: "envoy.wasm.runtime.v8".to_owned(),
        code: Some(AsyncDataSource { specifier: Some(async_data_source::Specifier::Remote(remote)) }),
        ..VmConfig::default()
    };
    let failure_policy = match plugin.failure_policy {
        FailurePolicy::FailOpen => EnvoyFailurePolicy::FailOpen,
        // Closed while it cannot run; a trapped instance is made anew instead of answering 503 for good.
        FailurePolicy::FailClosed => EnvoyFailurePolicy::FailReload,
    };
    let config = PluginConfig {
        name: plugin.name.clone(),
        root_id: plugin.name.clone(),
        configuration: Some(any(&StringValue { value: plugin.config.clone() })),
        failure_policy: failure_policy.into(),
        vm: Some(Vm::VmConfig(vm)),
        ..PluginConfig::default()
    };
    HttpFilter {
        name: format!("gatefleet.wasm.{}", plugin.name),
        config_type: Some(ConfigType::TypedConfig(any(&Wasm { config: Some(config) }))),
        ..HttpFilter::default()
    }
}
