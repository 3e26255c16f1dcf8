// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `/config_dump/gatefleet`: the compiled configuration, what the gateway serves by, under its own names; with what was rejected and
//! what has no effect. Secrets are described, not shown.

mod routes;

use crate::certificates::{SecretView, secrets};
use crate::ledger::{Ledger, Rejected};
use crate::process::Shared;
use gateway_config::{
    Discovery, Endpoint, Endpoints, HttpFilterKind, Listener, NetworkFilter, RouteSource, Snapshot,
    WasmModule,
};
use gateway_upstream::HostState;
use gateway_xds_api::ResourceType;
use gateway_xds_client::StatusView;
use routes::RouteTableView;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// What `/config_dump/gatefleet` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dump {
    node: String,
    version: &'static str,
    generation: u64,
    started_from_disk: bool,
    xds: Option<StatusView>,
    listeners: Vec<ListenerView>,
    waiting: Vec<WaitingView>,
    bind_failures: Vec<String>,
    /// Resources whose last version was not taken, and why.
    rejections: Vec<RemarkView>,
    /// Fields without effect in resources that were taken.
    warnings: Vec<RemarkView>,
    route_tables: Vec<RouteTableView>,
    clusters: Vec<ClusterView>,
    secrets: Vec<SecretView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListenerView {
    name: String,
    address: String,
    filter_chains: Vec<FilterChainView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp: Option<UdpView>,
}

/// Where datagrams go.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UdpView {
    stat_prefix: String,
    cluster: String,
    idle_timeout_ms: u128,
    per_datagram: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FilterChainView {
    name: String,
    server_names: Vec<String>,
    tls: bool,
    certificates: Vec<String>,
    routes: String,
    http_filters: Vec<FilterView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FilterView {
    name: String,
    kind: &'static str,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_policy: Option<String>,
}

/// A listener that is not served yet, and what for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitingView {
    listener: String,
    missing: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterView {
    name: String,
    discovery: &'static str,
    balancing: String,
    protocol: String,
    tls: bool,
    connect_timeout_ms: u128,
    endpoints: Option<Vec<EndpointView>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointView {
    address: String,
    weight: u32,
    priority: u32,
    zone: String,
    health: String,
    /// Absent where the endpoint was not used yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    use_so_far: Option<UseView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UseView {
    active: u32,
    requests: u64,
    errors: u64,
    ejected: bool,
}

/// What became of a resource beside being served.
#[derive(Debug, Serialize)]
struct RemarkView {
    kind: String,
    name: String,
    messages: Vec<String>,
}

/// The whole configuration.
pub(crate) fn configuration(shared: &Shared) -> Dump {
    let snapshot = shared.store.lock().snapshot().clone();
    let mut tables: Vec<_> = snapshot.route_tables.iter().collect();
    tables.sort_by_key(|(name, _)| *name);
    let (rejections, warnings) = {
        let ledger = shared.ledger.lock();
        (rejections(&ledger), warnings(&ledger))
    };
    Dump {
        node: shared.bootstrap.node_id(),
        version: env!("CARGO_PKG_VERSION"),
        generation: snapshot.generation,
        started_from_disk: shared.started_from_disk,
        xds: shared.client.get().map(|status| status.view()),
        listeners: snapshot.listeners.values().map(|listener| listener_view(listener)).collect(),
        waiting: waiting(shared),
        bind_failures: shared.proxy.bind_failures(),
        rejections,
        warnings,
        route_tables: tables.into_iter().map(|(_, table)| RouteTableView::of(table)).collect(),
        clusters: cluster_views(shared, &snapshot),
        secrets: secrets(shared),
    }
}

fn rejections(ledger: &Ledger) -> Vec<RemarkView> {
    let view = |(kind, name, rejected): (ResourceType, &str, &Rejected)| RemarkView {
        kind: kind.to_string(),
        name: name.to_owned(),
        messages: vec![rejected.message.clone()],
    };
    ledger.rejections().map(view).collect()
}

fn warnings(ledger: &Ledger) -> Vec<RemarkView> {
    let view = |(kind, name, messages): (ResourceType, &str, &[String])| RemarkView {
        kind: kind.to_string(),
        name: name.to_owned(),
        messages: messages.to_vec(),
    };
    ledger.warnings().map(view).collect()
}

fn waiting(shared: &Shared) -> Vec<WaitingView> {
    let waiting = shared.store.lock().waiting().into_iter().map(|waiting| WaitingView {
        listener: waiting.listener,
        missing: waiting.missing.iter().map(|(kind, name)| format!("{kind} {name}")).collect(),
    });
    waiting.collect()
}

fn listener_view(listener: &Listener) -> ListenerView {
    let chains = listener.chains.all().iter().map(|chain| FilterChainView {
        name: chain.name.to_string(),
        server_names: chain.matches.server_names.iter().map(ToString::to_string).collect(),
        tls: chain.tls.is_some(),
        certificates: chain.tls.iter().flat_map(|tls| &tls.certificates).map(ToString::to_string).collect(),
        routes: match &chain.network {
            NetworkFilter::Http(http) => match &http.routes {
                RouteSource::Rds(name) => name.to_string(),
                RouteSource::Inline(table) => format!("inline {}", table.name),
            },
            NetworkFilter::Tcp(proxy) => format!("tcp {}", proxy.stat_prefix),
        },
        http_filters: chain.http().iter().flat_map(|http| &http.filters).map(filter_view).collect(),
    });
    ListenerView {
        name: listener.name.to_string(),
        address: listener.address.to_string(),
        filter_chains: chains.collect(),
        udp: listener.udp.as_ref().map(|proxy| UdpView {
            stat_prefix: proxy.stat_prefix.to_string(),
            cluster: proxy.cluster.to_string(),
            idle_timeout_ms: proxy.idle_timeout.as_millis(),
            per_datagram: proxy.per_datagram,
        }),
    }
}

fn filter_view(filter: &gateway_config::HttpFilter) -> FilterView {
    let (module, policy) = match &filter.kind {
        HttpFilterKind::Wasm(plugin) => {
            let module = match &plugin.module {
                WasmModule::Remote { uri, sha256, .. } => format!("{uri} sha256:{sha256}"),
                WasmModule::File(path) => format!("file {path}"),
                WasmModule::Inline(bytes) => format!("inline, {} bytes", bytes.len()),
            };
            (Some(module), Some(format!("{:?}", plugin.failure_policy)))
        }
        _ => (None, None),
    };
    FilterView {
        name: filter.name.to_string(),
        kind: filter.kind.kind(),
        disabled: filter.disabled,
        module,
        failure_policy: policy,
    }
}

fn cluster_views(shared: &Shared, snapshot: &Snapshot) -> Vec<ClusterView> {
    let used: HashMap<String, _> = shared
        .proxy
        .upstream()
        .clusters()
        .into_iter()
        .map(|state| (state.name().to_owned(), state.hosts()))
        .collect();
    let mut clusters: Vec<_> = snapshot.clusters.iter().collect();
    clusters.sort_by_key(|(name, _)| *name);
    let view = |(name, cluster): (&str, &Arc<gateway_config::Cluster>)| {
        let hosts = used.get(name).map(Vec::as_slice).unwrap_or_default();
        let endpoints = snapshot.cluster(name).and_then(|(_, endpoints)| endpoints);
        ClusterView {
            name: name.to_owned(),
            discovery: match cluster.discovery {
                Discovery::Eds { .. } => "eds",
                Discovery::Static(_) => "static",
                Discovery::StrictDns(..) => "strict-dns",
                Discovery::LogicalDns(..) => "logical-dns",
                Discovery::Aggregate(_) => "aggregate",
            },
            balancing: format!("{:?}", cluster.balancing.policy),
            protocol: format!("{:?}", cluster.protocol),
            tls: cluster.sockets().any(|socket| socket.tls.is_some()),
            connect_timeout_ms: cluster.connect_timeout.as_millis(),
            endpoints: endpoints.map(|endpoints| endpoint_views(endpoints, hosts)),
        }
    };
    clusters.into_iter().map(view).collect()
}

fn endpoint_views(endpoints: &Endpoints, hosts: &[Arc<HostState>]) -> Vec<EndpointView> {
    let placed =
        endpoints.localities.iter().flat_map(|place| place.endpoints.iter().map(move |e| (place, e)));
    let use_of = |endpoint: &Endpoint| {
        let host = hosts.iter().find(|host| *host.address() == endpoint.address)?;
        Some(UseView {
            active: host.active(),
            requests: host.requests(),
            errors: host.errors(),
            ejected: host.is_ejected(),
        })
    };
    let view = |(place, endpoint): (&gateway_config::Locality, &Endpoint)| EndpointView {
        address: endpoint.address.to_string(),
        weight: endpoint.weight,
        priority: place.priority,
        zone: place.place.zone.to_string(),
        health: format!("{:?}", endpoint.health),
        use_so_far: use_of(endpoint),
    };
    placed.map(view).collect()
}
