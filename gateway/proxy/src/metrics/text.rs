// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Prometheus text, as Envoy's `/stats/prometheus` writes it.

use super::histogram::{BUCKETS, HistogramValues};
use super::{CounterKey, HttpMetrics, ListenerMetrics, WorkerMetrics};
use crate::head_guard::Refusal;
use gateway_upstream::{ClusterMetrics, MetricKind, UpstreamRegistry};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;

const HTTP_LABEL: &str = "envoy_http_conn_manager_prefix";
const LISTENER_LABEL: &str = "envoy_listener_address";
const CLUSTER_LABEL: &str = "envoy_cluster_name";

/// The sums of one `stat_prefix`.
#[derive(Default)]
struct HttpSums {
    numbers: Vec<u64>,
    classes: [u64; 5],
    refused: [u64; Refusal::ALL.len()],
    time: HistogramValues,
}

/// Writes all numbers of the workers and the clusters to `out`.
pub(crate) fn write(
    out: &mut String,
    workers: &[Arc<WorkerMetrics>],
    upstream: &UpstreamRegistry,
    log_lines_dropped: u64,
) {
    write_http(out, workers);
    write_listeners(out, workers);
    write_filters(out, workers);
    write_clusters(out, upstream);
    head(out, "gatefleet_access_log_lines_dropped_total", "counter");
    line(out, "gatefleet_access_log_lines_dropped_total", &[], log_lines_dropped);
}

fn write_http(out: &mut String, workers: &[Arc<WorkerMetrics>]) {
    let mut all: BTreeMap<Box<str>, HttpSums> = BTreeMap::new();
    for worker in workers {
        for (prefix, numbers) in worker.http.lock().iter() {
            all.entry(prefix.clone()).or_default().add(numbers);
        }
    }
    for (index, (name, kind)) in HttpMetrics::NAMES.iter().enumerate() {
        let name = format!("envoy_http_{name}");
        head(out, &name, kind);
        for (prefix, sums) in &all {
            line(out, &name, &[(HTTP_LABEL, prefix)], sums.numbers.get(index).copied().unwrap_or_default());
        }
    }
    head(out, "envoy_http_downstream_rq_xx", "counter");
    for (prefix, sums) in &all {
        for (class, count) in ["1", "2", "3", "4", "5"].iter().zip(sums.classes) {
            line(
                out,
                "envoy_http_downstream_rq_xx",
                &[("envoy_response_code_class", class), (HTTP_LABEL, prefix)],
                count,
            );
        }
    }
    head(out, "gatefleet_http_requests_refused_total", "counter");
    for (prefix, sums) in &all {
        for (reason, count) in Refusal::ALL.iter().zip(sums.refused).filter(|(_, count)| *count > 0) {
            line(
                out,
                "gatefleet_http_requests_refused_total",
                &[("reason", reason.as_str()), (HTTP_LABEL, prefix)],
                count,
            );
        }
    }
    head(out, "envoy_http_downstream_rq_time", "histogram");
    for (prefix, sums) in &all {
        histogram(out, "envoy_http_downstream_rq_time", (HTTP_LABEL, prefix), &sums.time);
    }
}

impl HttpSums {
    fn add(&mut self, metrics: &HttpMetrics) {
        let HttpMetrics { status_classes, request_time, refused, .. } = metrics;
        add_all(&mut self.numbers, &metrics.values());
        self.classes.iter_mut().zip(status_classes).for_each(|(sum, number)| *sum += number.get());
        self.refused.iter_mut().zip(refused).for_each(|(sum, number)| *sum += number.get());
        request_time.add_to(&mut self.time);
    }
}

fn write_listeners(out: &mut String, workers: &[Arc<WorkerMetrics>]) {
    let mut all: BTreeMap<Box<str>, Vec<u64>> = BTreeMap::new();
    for worker in workers {
        for (address, numbers) in worker.listeners.lock().iter() {
            add_all(all.entry(address.clone()).or_default(), &numbers.values());
        }
    }
    for (index, (name, kind)) in ListenerMetrics::NAMES.iter().enumerate() {
        let name = format!("envoy_listener_{name}");
        head(out, &name, kind);
        for (address, numbers) in &all {
            line(out, &name, &[(LISTENER_LABEL, address)], numbers.get(index).copied().unwrap_or_default());
        }
    }
}

fn write_filters(out: &mut String, workers: &[Arc<WorkerMetrics>]) {
    let mut all: BTreeMap<CounterKey, u64> = BTreeMap::new();
    for worker in workers {
        for (key, number) in worker.filters.lock().iter() {
            *all.entry(key.clone()).or_default() += number.get();
        }
    }
    let mut before = "";
    for ((name, label, value), count) in &all {
        let full = format!("envoy_{name}");
        if before != *name {
            head(out, &full, "counter");
            before = name;
        }
        line(out, &full, &[(label, value)], *count);
    }
}

/// Sums wrap, as a gauge of one worker may be below zero for another's sake.
fn add_all(sums: &mut Vec<u64>, values: &[u64]) {
    sums.resize(values.len(), 0);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(*value);
    }
}

fn write_clusters(out: &mut String, upstream: &UpstreamRegistry) {
    let mut clusters = upstream.clusters();
    clusters.sort_by(|a, b| a.name().cmp(b.name()));
    let names: Vec<_> = ClusterMetrics::default().iter().map(|(name, kind, _)| (name, kind)).collect();
    let values: Vec<Vec<u64>> =
        clusters.iter().map(|cluster| cluster.metrics.iter().map(|(_, _, value)| value).collect()).collect();
    let mut classes_begun = false;
    for (index, (name, kind)) in names.iter().enumerate() {
        let kind = if *kind == MetricKind::Gauge { "gauge" } else { "counter" };
        let class = name.strip_prefix("upstream_rq_").and_then(|rest| rest.strip_suffix("xx"));
        let full = if class.is_some() {
            "envoy_cluster_upstream_rq_xx".to_owned()
        } else {
            format!("envoy_cluster_{name}")
        };
        if class.is_none() || !classes_begun {
            head(out, &full, kind);
        }
        classes_begun |= class.is_some();
        for (cluster, values) in clusters.iter().zip(&values) {
            let value = values.get(index).copied().unwrap_or_default();
            match class {
                Some(class) => line(
                    out,
                    &full,
                    &[("envoy_response_code_class", class), (CLUSTER_LABEL, cluster.name())],
                    value,
                ),
                None => line(out, &full, &[(CLUSTER_LABEL, cluster.name())], value),
            }
        }
    }
}

fn histogram(out: &mut String, name: &str, label: (&str, &str), values: &HistogramValues) {
    let mut count = 0;
    for (end, in_bucket) in BUCKETS.iter().zip(values.counts) {
        count += in_bucket;
        line(out, &format!("{name}_bucket"), &[label, ("le", &end.to_string())], count);
    }
    count += values.counts.last().copied().unwrap_or_default();
    line(out, &format!("{name}_bucket"), &[label, ("le", "+Inf")], count);
    #[allow(
        clippy::cast_precision_loss,
        reason = "a sum of milliseconds above 2^53 microseconds is not worth more"
    )]
    line(out, &format!("{name}_sum"), &[label], values.micros as f64 / 1000.0);
    line(out, &format!("{name}_count"), &[label], count);
}

fn head(out: &mut String, name: &str, kind: &str) {
    out.push_str("# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(kind);
    out.push('\n');
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    out.push_str(name);
    let mut before = '{';
    for (label, text) in labels {
        out.push(before);
        before = ',';
        out.push_str(label);
        out.push_str("=\"");
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    if before == ',' {
        out.push('}');
    }
    // Writing to a String does not fail.
    let _ = writeln!(out, " {value}");
}
