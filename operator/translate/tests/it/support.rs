// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Models from files, live data made up for them, resources as text.

use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::core::v3::Metadata;
use gateway_xds_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use gateway_xds_api::pb::envoy::config::listener::v3::Listener;
use gateway_xds_api::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3::{Cors, CorsPolicy};
use gateway_xds_api::pb::envoy::extensions::filters::http::{router::v3::Router, wasm::v3::Wasm};
use gateway_xds_api::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use gateway_xds_api::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{DownstreamTlsContext, Secret};
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use gateway_xds_api::pb::google::protobuf::{StringValue, value::Kind};
use gateway_xds_api::{PackedResource, ResourceSet, ResourceType};
use operator_ir::{BackendId, GatewayConfig};
use operator_translate::{
    BackendState, Certificate, CertificateState, Endpoint, Endpoints, Live, LocalityEndpoints, PluginFact,
};
use prost::{Message, Name};
use std::fmt::{Debug, Write};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn config(case: &str) -> GatewayConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{case}.ir.yaml"));
    let text = fs::read_to_string(&path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Services have two ready endpoints and one that ends; `absent`, `empty`, `unknown` and `ending` in a name say else.
pub(crate) fn live(config: &GatewayConfig) -> Live {
    let mut live = Live::default();
    for id in config.backends.keys() {
        let BackendId::Service { name, .. } = id;
        let state = match name.as_str() {
            "absent" => BackendState::Absent,
            "unknown" => BackendState::Unknown,
            "empty" => BackendState::Present(Arc::default()),
            "ending" => present(&[("10.0.0.1", false, true), ("10.0.0.2", false, false)]),
            _ => present(&[("10.0.0.1", true, false), ("10.0.0.2", true, false), ("10.0.0.3", false, true)]),
        };
        live.backends.insert(id.clone(), state);
    }
    let chains = config.listeners.values().flat_map(|listener| &listener.chains);
    for id in chains.filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| &tls.certificates) {
        let certificate =
            Certificate { chain_pem: format!("chain of {id}"), key_pem: format!("key of {id}") };
        live.certificates.insert(id.clone(), CertificateState::Present(Arc::new(certificate)));
    }
    for plugin in config.plugins.values().filter(|plugin| !plugin.name.contains("unknown")) {
        let fact = PluginFact {
            sha256: "ab".repeat(32),
            uri: format!("https://relay:15012/v1/plugins/{}", "ab".repeat(32)),
        };
        live.plugins.insert(plugin.image.clone(), Arc::new(fact));
    }
    live
}

fn present(endpoints: &[(&str, bool, bool)]) -> BackendState {
    let endpoint = |(address, ready, ending): &(&str, bool, bool)| Endpoint {
        address: address.parse::<IpAddr>().unwrap(),
        port: 8080,
        ready: *ready,
        serving: *ready || *ending,
        terminating: *ending,
    };
    let locality = LocalityEndpoints {
        region: "eu".into(),
        zone: "eu-a".into(),
        endpoints: endpoints.iter().map(endpoint).collect(),
    };
    BackendState::Present(Arc::new(Endpoints { localities: vec![locality] }))
}

pub(crate) fn inline_hosts(set: &ResourceSet) -> usize {
    let tables = set.of(ResourceType::RouteConfiguration);
    tables.map(|r| RouteConfiguration::decode(r.value.clone()).unwrap().virtual_hosts.len()).sum()
}

/// All resources, without fields that have their default.
pub(crate) fn render(set: &ResourceSet) -> String {
    let mut text =
        "# SPDX-FileCopyrightText: The Gatefleet Authors\n# SPDX-License-Identifier: Apache-2.0\n".to_owned();
    for kind in ResourceType::ALL {
        for resource in set.of(kind) {
            let _ = writeln!(text, "--- # {kind} {} from {:?}", resource.name, resource.origin);
            for line in message(kind, resource).lines().filter(|line| !is_default(line)) {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn message(kind: ResourceType, resource: &PackedResource) -> String {
    let bytes = resource.value.clone();
    match kind {
        ResourceType::Secret => debug(&Secret::decode(bytes).unwrap()),
        ResourceType::ClusterLoadAssignment => debug(&ClusterLoadAssignment::decode(bytes).unwrap()),
        ResourceType::RouteConfiguration => debug(&RouteConfiguration::decode(bytes).unwrap()),
        ResourceType::Cluster => {
            let mut cluster = Cluster::decode(bytes).unwrap();
            let origin = origin(cluster.metadata.take());
            format!("# {origin}\n{}", debug(&cluster))
        }
        ResourceType::Listener => {
            let mut listener = Listener::decode(bytes).unwrap();
            let chains = listener.filter_chains.iter_mut();
            let origins: Vec<String> = chains
                .map(|chain| format!("# chain {}: {}\n", chain.name, origin(chain.metadata.take())))
                .collect();
            format!("{}{}", origins.concat(), debug(&listener))
        }
        ResourceType::VirtualHost => {
            let mut host = VirtualHost::decode(bytes).unwrap();
            let routes = host.routes.iter_mut();
            let origins: Vec<String> = routes
                .map(|route| format!("# route {}: {}\n", route.name, origin(route.metadata.take())))
                .collect();
            format!("{}{}", origins.concat(), debug(&host))
        }
    }
}

/// The entry of ours in a message's metadata.
fn origin(metadata: Option<Metadata>) -> String {
    let metadata = metadata.expect("metadata");
    let fields = &metadata.filter_metadata["gatefleet.dev"].fields;
    let words = ["kind", "namespace", "name", "rule"].into_iter().filter_map(|name| {
        match fields.get(name)?.kind.as_ref()? {
            Kind::StringValue(text) => Some(text.clone()),
            Kind::NumberValue(number) => Some(number.to_string()),
            _ => None,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Debug text with packed messages written out.
fn debug(message: &impl Debug) -> String {
    let text = format!("{message:#?}");
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(url) = line.trim().strip_prefix("type_url: \"").and_then(|l| l.strip_suffix("\",")) else {
            continue;
        };
        let bytes: Vec<u8> = match lines.next().map(str::trim) {
            Some("value: [") => {
                let bytes = lines.by_ref().take_while(|l| l.trim() != "],");
                bytes.map(|l| l.trim().trim_end_matches(',').parse().unwrap()).collect()
            }
            _ => Vec::new(),
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        for inner in unpacked(url, &bytes).lines() {
            let _ = writeln!(out, "{indent}{inner}");
        }
    }
    out
}

fn unpacked(url: &str, bytes: &[u8]) -> String {
    fn read<M: Message + Name + Default + Debug>(url: &str, bytes: &[u8]) -> Option<String> {
        (url == format!("type.googleapis.com/{}", M::full_name())).then(|| debug(&M::decode(bytes).unwrap()))
    }
    let readers = [
        read::<HttpConnectionManager>,
        read::<Router>,
        read::<Cors>,
        read::<CorsPolicy>,
        read::<Wasm>,
        read::<StringValue>,
        read::<TlsInspector>,
        read::<DownstreamTlsContext>,
        read::<HttpProtocolOptions>,
        read::<PreviousHostsPredicate>,
    ];
    // The access log's fields have no order in the generated type.
    readers.iter().find_map(|read| read(url, bytes)).unwrap_or_else(|| format!("({} bytes)", bytes.len()))
}

fn is_default(line: &str) -> bool {
    [": None,", ": [],", ": \"\",", ": false,", ": 0,", ": {},"].iter().any(|end| line.ends_with(end))
}
