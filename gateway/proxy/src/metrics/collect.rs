// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! All numbers of a proxy at one moment: workers' added up, then the clusters'. Family after family.

use super::stat::{Stat, StatScope, StatTag, StatValue};
use super::{CounterKey, HttpMetrics, ListenerMetrics, WorkerMetrics};
use crate::head_guard::Refusal;
use gateway_config::CircuitBreakers;
use gateway_upstream::{ClusterMetrics, ClusterState, HistogramValues, MetricKind, UpstreamRegistry};
use std::collections::BTreeMap;
use std::sync::Arc;

const CLASS_LABEL: &str = "envoy_response_code_class";

/// Who is told each number.
type Visit<'v> = dyn FnMut(&Stat<'_>) + 'v;

/// The sums of one `stat_prefix`.
#[derive(Default)]
struct HttpSums {
    numbers: Vec<u64>,
    classes: [u64; 5],
    refused: [u64; Refusal::ALL.len()],
    time: HistogramValues,
    length: HistogramValues,
}

/// Numbers of a connection manager that are none of Envoy's.
const OWN: [&str; 2] = ["downstream_cx_resting", "drain_forced"];

/// Filters and other parts whose name stands before a dot in the names of their numbers.
const PARTS: [&str; 17] = [
    "rbac",
    "ext_authz",
    "ext_proc",
    "fault",
    "csrf",
    "cors",
    "jwt_authn",
    "basic_auth",
    "api_key_auth",
    "compressor",
    "ratelimit",
    "buffer",
    "oauth2",
    "health_check",
    "outlier_detection",
    "ssl",
    "udp",
];

/// Tells all numbers of the workers and the clusters.
pub(crate) fn visit(workers: &[Arc<WorkerMetrics>], upstream: &UpstreamRegistry, visit: &mut Visit<'_>) {
    visit_http(workers, visit);
    visit_listeners(workers, visit);
    visit_filters(workers, visit);
    visit_clusters(upstream, visit);
}

fn number<'a>(scope: StatScope<'a>, name: &'a str, counter: bool, value: u64) -> Stat<'a> {
    let value = if counter { StatValue::Counter(value) } else { StatValue::Gauge(value) };
    Stat { scope, name, tag: None, value }
}

fn visit_http(workers: &[Arc<WorkerMetrics>], visit: &mut Visit<'_>) {
    let mut all: BTreeMap<Box<str>, HttpSums> = BTreeMap::new();
    for worker in workers {
        for (prefix, numbers) in worker.http.lock().iter() {
            all.entry(prefix.clone()).or_default().add(numbers);
        }
    }
    for (index, (name, kind)) in HttpMetrics::NAMES.iter().enumerate() {
        for (prefix, sums) in &all {
            let own = OWN.contains(name);
            let scope = if own { StatScope::Own(Some(prefix)) } else { StatScope::Http(prefix) };
            let full = format!("http_{name}");
            let name = if own { full.as_str() } else { *name };
            let value = sums.numbers.get(index).copied().unwrap_or_default();
            visit(&number(scope, name, *kind == "counter", value));
        }
    }
    for (prefix, sums) in &all {
        for (class, count) in ["1", "2", "3", "4", "5"].into_iter().zip(sums.classes) {
            let tag = Some(StatTag { family: "downstream_rq_xx", label: CLASS_LABEL, value: class });
            let name = format!("downstream_rq_{class}xx");
            visit(&Stat { tag, ..number(StatScope::Http(prefix), &name, true, count) });
        }
    }
    for (prefix, sums) in &all {
        for (reason, count) in Refusal::ALL.iter().zip(sums.refused).filter(|(_, count)| *count > 0) {
            let tag =
                StatTag { family: "http_requests_refused_total", label: "reason", value: reason.as_str() };
            let name = format!("http_requests_refused.{}", reason.as_str());
            visit(&Stat { tag: Some(tag), ..number(StatScope::Own(Some(prefix)), &name, true, count) });
        }
    }
    let mut histogram = |name, of: fn(&HttpSums) -> &HistogramValues| {
        for (prefix, sums) in &all {
            let value = StatValue::Histogram(of(sums));
            visit(&Stat { scope: StatScope::Http(prefix), name, tag: None, value });
        }
    };
    histogram("downstream_rq_time", |sums| &sums.time);
    histogram("downstream_cx_length_ms", |sums| &sums.length);
}

impl HttpSums {
    fn add(&mut self, metrics: &HttpMetrics) {
        let HttpMetrics { status_classes, request_time, connection_length, refused, .. } = metrics;
        add_all(&mut self.numbers, &metrics.values());
        self.classes.iter_mut().zip(status_classes).for_each(|(sum, number)| *sum += number.get());
        self.refused.iter_mut().zip(refused).for_each(|(sum, number)| *sum += number.get());
        request_time.add_to(&mut self.time);
        connection_length.add_to(&mut self.length);
    }
}

fn visit_listeners(workers: &[Arc<WorkerMetrics>], visit: &mut Visit<'_>) {
    let mut all: BTreeMap<Box<str>, (Vec<u64>, HistogramValues)> = BTreeMap::new();
    let mut sources: BTreeMap<Box<str>, u64> = BTreeMap::new();
    for worker in workers {
        for (address, numbers) in worker.listeners.lock().iter() {
            let (sums, length) = all.entry(address.clone()).or_default();
            add_all(sums, &numbers.values());
            numbers.connection_length.add_to(length);
            *sources.entry(address.clone()).or_default() += numbers.source_overflow.get();
        }
    }
    for (index, (name, kind)) in ListenerMetrics::NAMES.iter().enumerate() {
        let dotted = dotted(name);
        for (address, (numbers, _)) in &all {
            let value = numbers.get(index).copied().unwrap_or_default();
            visit(&number(StatScope::Listener(address), &dotted, *kind == "counter", value));
        }
    }
    for (address, (_, length)) in &all {
        let (scope, value) = (StatScope::Listener(address), StatValue::Histogram(length));
        visit(&Stat { scope, name: "downstream_cx_length_ms", tag: None, value });
    }
    visit_sources(&sources, visit);
}

/// Connections closed at once because of the limit of their source: a number that Envoy does not have.
fn visit_sources(sources: &BTreeMap<Box<str>, u64>, visit: &mut Visit<'_>) {
    for (address, refused) in sources {
        let family = "listener_source_overflow_total";
        let tag = StatTag { family, label: "envoy_listener_address", value: address };
        let name = format!("listener_source_overflow.{address}");
        visit(&Stat { tag: Some(tag), ..number(StatScope::Own(None), &name, true, *refused) });
    }
}

fn visit_filters(workers: &[Arc<WorkerMetrics>], visit: &mut Visit<'_>) {
    let mut all: BTreeMap<CounterKey, u64> = BTreeMap::new();
    for worker in workers {
        for (key, number) in worker.filters.lock().iter() {
            let sum = all.entry(key.clone()).or_default();
            *sum = sum.wrapping_add(number.get());
        }
    }
    for ((name, label, value), count) in &all {
        let of = |part: &str| name.strip_prefix(part);
        let (scope, name) = match (*label, of("http_"), of("tcp_"), of("udp_")) {
            ("envoy_http_conn_manager_prefix", Some(name), ..) => (StatScope::Http(value), dotted(name)),
            ("envoy_tcp_prefix", _, Some(name), _) => (StatScope::Tcp(value), name.to_owned()),
            ("envoy_udp_prefix", .., Some(name)) => (StatScope::Udp(value), name.to_owned()),
            ("envoy_listener_address", ..) => (StatScope::Listener(value), dotted(name)),
            ("envoy_local_http_ratelimit_prefix", ..) => (
                StatScope::Prefix { label, value },
                name.replacen("http_local_rate_limit_", "http_local_rate_limit.", 1),
            ),
            _ => (StatScope::Prefix { label, value }, (*name).to_owned()),
        };
        visit(&number(scope, &name, !name.ends_with("_active"), *count));
    }
}

/// Envoy's name with its dots: of what a part counts, the part's name stands before one.
fn dotted(name: &str) -> String {
    let of_part = PARTS.iter().find_map(|part| Some((part, name.strip_prefix(part)?.strip_prefix('_')?)));
    of_part.map_or_else(|| name.to_owned(), |(part, rest)| format!("{part}.{rest}"))
}

/// Sums wrap, as a gauge of one worker may be below zero for another's sake.
fn add_all(sums: &mut Vec<u64>, values: &[u64]) {
    sums.resize(values.len(), 0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(*value);
    }
}

/// Whether one of a cluster's limits is reached.
type IsOpen = fn(&ClusterMetrics, &CircuitBreakers) -> bool;

const BREAKERS: [(&str, IsOpen); 4] = [
    ("circuit_breakers.default.cx_open", |metrics, limits| {
        metrics.upstream_cx_active.get() >= limits.max_connections.into()
    }),
    ("circuit_breakers.default.rq_open", |metrics, limits| {
        metrics.upstream_rq_active.get() >= limits.max_requests.into()
    }),
    ("circuit_breakers.default.rq_pending_open", |metrics, limits| {
        metrics.upstream_rq_pending_active.get() >= limits.max_pending_requests.into()
    }),
    ("circuit_breakers.default.rq_retry_open", |metrics, limits| {
        let most = limits.retries(metrics.upstream_rq_active.get());
        metrics.upstream_rq_retry_active.get() >= most.into()
    }),
];

fn visit_clusters(upstream: &UpstreamRegistry, visit: &mut Visit<'_>) {
    let mut clusters = upstream.clusters();
    clusters.sort_by(|a, b| a.name().cmp(b.name()));
    for (name, kind, of) in ClusterMetrics::NUMBERS {
        let class = name.strip_prefix("upstream_rq_").and_then(|rest| rest.strip_suffix("xx"));
        let family = "upstream_rq_xx";
        let tag = class.map(|value| StatTag { family, label: CLASS_LABEL, value });
        let of_datagrams = name.starts_with("udp_");
        let name = dotted(name);
        for cluster in clusters.iter().filter(|cluster| !of_datagrams || takes_datagrams(cluster)) {
            let value = of(&cluster.metrics).get();
            visit(&Stat { tag, ..number(scope(cluster), &name, *kind == MetricKind::Counter, value) });
        }
    }
    for cluster in &clusters {
        for (status, count) in cluster.metrics.statuses.iter() {
            let value = status.to_string();
            let tag = StatTag { family: "upstream_rq", label: "envoy_response_code", value: &value };
            let name = format!("upstream_rq_{status}");
            visit(&Stat { tag: Some(tag), ..number(scope(cluster), &name, true, count) });
        }
    }
    for cluster in &clusters {
        for (status, count) in cluster.metrics.retried_statuses.iter() {
            let value = status.to_string();
            let tag = StatTag { family: "retry.upstream_rq", label: "envoy_response_code", value: &value };
            let name = format!("retry.upstream_rq_{status}");
            visit(&Stat { tag: Some(tag), ..number(scope(cluster), &name, true, count) });
        }
    }
    for (name, is_open) in BREAKERS {
        for cluster in &clusters {
            let open = cluster.limits().is_some_and(|limits| is_open(&cluster.metrics, &limits));
            visit(&number(scope(cluster), name, false, open.into()));
        }
    }
    let mut histogram = |name, of: fn(&ClusterMetrics) -> HistogramValues| {
        for cluster in &clusters {
            let values = of(&cluster.metrics);
            let value = StatValue::Histogram(&values);
            visit(&Stat { scope: scope(cluster), name, tag: None, value });
        }
    };
    histogram("upstream_rq_time", |metrics| metrics.upstream_rq_time.values());
    histogram("upstream_cx_connect_ms", |metrics| metrics.upstream_cx_connect_ms.values());
    histogram("upstream_cx_length_ms", |metrics| metrics.upstream_cx_length_ms.values());
}

/// Only clusters that have to do with datagrams have numbers of them, as in Envoy.
fn takes_datagrams(cluster: &ClusterState) -> bool {
    cluster.metrics.udp_sess_tx_datagrams.get() + cluster.metrics.udp_sess_tx_errors.get() > 0
}

fn scope(cluster: &ClusterState) -> StatScope<'_> {
    StatScope::Cluster(cluster.name())
}
