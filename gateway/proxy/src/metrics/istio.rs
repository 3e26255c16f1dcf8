// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Istio's standard metrics of requests, where they are asked for: by destination, status, flags; bounded in number.

use super::{Histogram, Number};
use gateway_filter_api::ResponseFlags;
use gateway_upstream::{BUCKETS, HistogramValues};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Series of one worker; what is beyond is counted together.
const SERIES: usize = 2000;

/// Stands in labels for what is not known, as in Istio.
const UNKNOWN: &str = "unknown";
/// Stands in labels for what is beyond the number of series.
const OVERFLOW: &str = "overflow";

/// Who the gateway is in Istio's labels.
#[derive(Clone, Debug, Default)]
pub struct IstioSource {
    /// `source_workload`.
    pub workload: String,
    /// `source_workload_namespace`.
    pub namespace: String,
    /// `source_app`, also the canonical service.
    pub app: String,
    /// `source_version`, also the canonical revision.
    pub version: String,
    /// `source_cluster`.
    pub cluster: String,
    /// `source_principal`.
    pub principal: String,
}

/// What a series is about, besides its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) grpc: bool,
    /// `grpc-status`, where it was one.
    pub(crate) grpc_status: Option<u8>,
}

/// What a request was, at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measures {
    pub(crate) duration: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The numbers behind one set of labels.
#[derive(Debug, Default)]
struct Series {
    labels: String,
    requests: Number,
    duration: Histogram,
    received: Histogram,
    sent: Histogram,
}

/// The series of one destination.
type ByOutcome = HashMap<Outcome, Arc<Series>>;

/// The series of one worker, for its own thread.
#[derive(Debug)]
pub(crate) struct IstioRecorder {
    source: Arc<IstioSource>,
    by_destination: RefCell<HashMap<Box<str>, ByOutcome>>,
    count: Cell<usize>,
    overflow: RefCell<Option<Arc<Series>>>,
    told: Arc<IstioSeries>,
}

/// The series of one worker, for those who read them.
#[derive(Debug, Default)]
pub(crate) struct IstioSeries(Mutex<Vec<Arc<Series>>>);

impl IstioRecorder {
    pub(crate) fn new(source: Arc<IstioSource>, told: Arc<IstioSeries>) -> Self {
        Self {
            source,
            by_destination: RefCell::default(),
            count: Cell::new(0),
            overflow: RefCell::default(),
            told,
        }
    }

    /// Counts a request to a cluster; an empty name stands for none.
    pub(crate) fn count(&self, cluster: &str, outcome: Outcome, measures: Measures) {
        let known = self.by_destination.borrow().get(cluster).and_then(|all| all.get(&outcome)).cloned();
        let series = known.unwrap_or_else(|| self.begin(cluster, outcome));
        series.requests.increment();
        series.duration.observe(measures.duration);
        // The buckets are numbers; that those of durations are milliseconds is a matter of reading.
        series.received.observe(Duration::from_millis(measures.received));
        series.sent.observe(Duration::from_millis(measures.sent));
    }

    fn begin(&self, cluster: &str, outcome: Outcome) -> Arc<Series> {
        if self.count.get() >= SERIES {
            let mut overflow = self.overflow.borrow_mut();
            return Arc::clone(overflow.get_or_insert_with(|| self.tell(overflow_labels(&self.source))));
        }
        self.count.set(self.count.get() + 1);
        let series = self.tell(labels(&self.source, cluster, outcome));
        let mut all = self.by_destination.borrow_mut();
        all.entry(cluster.into()).or_default().insert(outcome, Arc::clone(&series));
        series
    }

    fn tell(&self, labels: String) -> Arc<Series> {
        let series = Arc::new(Series { labels, ..Series::default() });
        self.told.0.lock().push(Arc::clone(&series));
        series
    }
}

/// The service that a cluster stands for: host, name and namespace, as far as its name tells.
fn destination(cluster: &str) -> (String, String, String) {
    let unknown = || UNKNOWN.to_owned();
    let named = |host: String, name: &str, namespace: &str| (host, name.to_owned(), namespace.to_owned());
    // Istio's `outbound|80|subset|reviews.shop.svc.cluster.local`.
    if let Some(host) = cluster.strip_prefix("outbound|").and_then(|rest| rest.rsplit('|').next()) {
        let mut parts = host.split('.');
        let (name, namespace) = (parts.next().unwrap_or(host), parts.next());
        return match (namespace, parts.next()) {
            (Some(namespace), Some("svc")) => named(host.to_owned(), name, namespace),
            _ => named(host.to_owned(), host, UNKNOWN),
        };
    }
    // Gatefleet's `service/<namespace>/<name>/<port>`.
    let parts: Vec<_> = cluster.split('/').collect();
    match parts[..] {
        ["service", namespace, name, _] => {
            named(format!("{name}.{namespace}.svc.cluster.local"), name, namespace)
        }
        _ if cluster.is_empty() => (unknown(), unknown(), unknown()),
        _ => named(cluster.to_owned(), cluster, UNKNOWN),
    }
}

fn labels(source: &IstioSource, cluster: &str, outcome: Outcome) -> String {
    let (host, name, namespace) = destination(cluster);
    let status = outcome.status.to_string();
    let grpc_status = outcome.grpc_status.map(|status| status.to_string()).unwrap_or_default();
    let flags = outcome.flags.to_string();
    written(
        source,
        &[
            ("destination_service", host.as_str()),
            ("destination_service_name", name.as_str()),
            ("destination_service_namespace", namespace.as_str()),
            ("request_protocol", if outcome.grpc { "grpc" } else { "http" }),
            ("response_code", status.as_str()),
            ("grpc_response_status", grpc_status.as_str()),
            ("response_flags", flags.as_str()),
        ],
    )
}

fn overflow_labels(source: &IstioSource) -> String {
    let names = ["destination_service", "destination_service_name", "destination_service_namespace"];
    let rest = ["request_protocol", "response_code", "grpc_response_status", "response_flags"];
    let all: Vec<_> = names.into_iter().chain(rest).map(|name| (name, OVERFLOW)).collect();
    written(source, &all)
}

/// All labels in Istio's order of meaning. What is known of endpoints' workloads is not told to a gateway.
fn written(source: &IstioSource, of_request: &[(&str, &str)]) -> String {
    let known = |text: &'_ str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        super::stat::escape(&mut text, value);
        text.push('"');
    };
    add("reporter", "source");
    for (name, value) in [
        ("source_workload", &source.workload),
        ("source_canonical_service", &source.app),
        ("source_canonical_revision", &source.version),
        ("source_workload_namespace", &source.namespace),
        ("source_principal", &source.principal),
        ("source_app", &source.app),
        ("source_version", &source.version),
        ("source_cluster", &source.cluster),
    ] {
        add(name, &known(value));
    }
    for name in [
        "destination_workload",
        "destination_workload_namespace",
        "destination_principal",
        "destination_app",
        "destination_version",
        "destination_canonical_service",
        "destination_canonical_revision",
        "destination_cluster",
    ] {
        add(name, UNKNOWN);
    }
    of_request.iter().for_each(|(name, value)| add(name, value));
    add("connection_security_policy", UNKNOWN);
    text
}

/// The numbers of all workers behind one set of labels.
#[derive(Default)]
struct Sums {
    requests: u64,
    duration: HistogramValues,
    received: HistogramValues,
    sent: HistogramValues,
}

/// Writes the series of all workers in Prometheus' text form.
pub(crate) fn write<'a>(out: &mut String, workers: impl Iterator<Item = &'a IstioSeries>) {
    let mut all: BTreeMap<String, Sums> = BTreeMap::new();
    for worker in workers {
        for series in worker.0.lock().iter() {
            let sums = all.entry(series.labels.clone()).or_default();
            sums.requests += series.requests.get();
            series.duration.add_to(&mut sums.duration);
            series.received.add_to(&mut sums.received);
            series.sent.add_to(&mut sums.sent);
        }
    }
    if all.is_empty() {
        return;
    }
    out.push_str("# TYPE istio_requests_total counter\n");
    for (labels, sums) in &all {
        // Writing to a String does not fail.
        let _ = writeln!(out, "istio_requests_total{{{labels}}} {}", sums.requests);
    }
    let mut family = |name, of: fn(&Sums) -> &HistogramValues| {
        let _ = writeln!(out, "# TYPE {name} histogram");
        all.iter().for_each(|(labels, sums)| histogram(out, name, labels, of(sums)));
    };
    family("istio_request_duration_milliseconds", |sums| &sums.duration);
    family("istio_request_bytes", |sums| &sums.received);
    family("istio_response_bytes", |sums| &sums.sent);
}

fn histogram(out: &mut String, name: &str, labels: &str, values: &HistogramValues) {
    let mut count = 0;
    for (end, in_bucket) in BUCKETS.iter().zip(values.counts) {
        count += in_bucket;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{end}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", values.count());
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", values.sum_millis());
    let _ = writeln!(out, "{name}_count{{{labels}}} {}", values.count());
}

#[cfg(test)]
mod tests {
    use super::{IstioRecorder, IstioSeries, IstioSource, Measures, Outcome, SERIES, destination, write};
    use gateway_filter_api::ResponseFlags;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_cluster_s_name_tells_its_service() {
        for (cluster, host, name, namespace) in [
            (
                "outbound|80||reviews.shop.svc.cluster.local",
                "reviews.shop.svc.cluster.local",
                "reviews",
                "shop",
            ),
            ("outbound|443||www.example.com", "www.example.com", "www.example.com", "unknown"),
            ("service/shop/cart/80", "cart.shop.svc.cluster.local", "cart", "shop"),
            ("elsewhere", "elsewhere", "elsewhere", "unknown"),
            ("", "unknown", "unknown", "unknown"),
        ] {
            let told = (host.to_owned(), name.to_owned(), namespace.to_owned());
            assert_eq!(destination(cluster), told, "{cluster}");
        }
    }

    #[test]
    fn series_are_bounded_and_workers_add_up() {
        let told = [Arc::new(IstioSeries::default()), Arc::new(IstioSeries::default())];
        let source = Arc::new(IstioSource { workload: "edge".to_owned(), ..IstioSource::default() });
        let measures = Measures { duration: Duration::from_millis(3), received: 7, sent: 2000 };
        let outcome = Outcome { status: 200, flags: ResponseFlags::NONE, grpc: true, grpc_status: Some(0) };
        for worker in &told {
            let recorder = IstioRecorder::new(source.clone(), worker.clone());
            for number in 0..SERIES + 5 {
                recorder.count(&format!("service/shop/s{number}/80"), outcome, measures);
            }
            recorder.count("service/shop/s0/80", outcome, measures);
        }
        let mut text = String::new();
        write(&mut text, told.iter().map(|series| &**series));
        let of = |name: &str, label: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
            (
                lines.next().unwrap_or_default().rsplit(' ').next().unwrap_or_default().to_owned(),
                lines.count(),
            )
        };
        assert_eq!(of("istio_requests_total{", "destination_service_name=\"s0\""), ("4".to_owned(), 0));
        assert_eq!(of("istio_requests_total{", "response_code=\"overflow\""), ("10".to_owned(), 0));
        assert_eq!(
            of("istio_response_bytes_sum{", "destination_service_name=\"s1\""),
            ("4000".to_owned(), 0)
        );
        let first = text.lines().find(|line| line.contains("\"s0\"")).unwrap_or_default();
        for label in [
            "reporter=\"source\"",
            "source_workload=\"edge\"",
            "grpc_response_status=\"0\"",
            "response_flags=\"-\"",
        ] {
            assert!(first.contains(label), "{label} is not in {first}");
        }
    }
}
