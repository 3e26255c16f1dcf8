// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `/stats` and `/stats/prometheus` as Envoy writes them, with their parameters.

use super::json;
use crate::process::Shared;
use crate::{metrics, stats};
use gateway_proxy::{PrometheusText, Stat, StatValue};
use gateway_telemetry::{Page, PageRequest};
use gateway_upstream::{BUCKETS, HistogramValues};
use http::StatusCode;
use prometheus_client::registry::Registry;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Which numbers are asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    names: Option<Regex>,
    used_only: bool,
}

impl Wanted {
    pub(crate) fn read(request: &PageRequest<'_>) -> Result<Self, Page> {
        let names = request.decoded("filter").map(|pattern| Regex::new(&pattern)).transpose();
        let refused = |error| Page::text(StatusCode::BAD_REQUEST, format!("Invalid re2 regex: {error}\n"));
        Ok(Self { names: names.map_err(refused)?, used_only: request.parameter("usedonly").is_some() })
    }

    fn wants(&self, stat: &Stat<'_>) -> bool {
        (!self.used_only || stat.is_used())
            && self.names.as_ref().is_none_or(|names| names.is_match(&stat.dotted()))
    }

    fn is_everything(&self) -> bool {
        self.names.is_none() && !self.used_only
    }
}

/// A number as these pages show it.
enum Shown {
    Plain(u64),
    Histogram(HistogramValues),
}

/// `/stats`.
pub(crate) fn page(shared: &Shared, registry: &Registry, request: &PageRequest<'_>) -> Page {
    let wanted = match Wanted::read(request) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    match request.parameter("format") {
        Some("prometheus") => prometheus(shared, registry, request),
        Some("json") => json::page(&as_json(collect(shared, &wanted))),
        None | Some("text") => Page::text(StatusCode::OK, as_text(collect(shared, &wanted))),
        Some(_) => Page::text(StatusCode::BAD_REQUEST, "usage: /stats?format=text|json|prometheus\n"),
    }
}

/// `/stats/prometheus`.
pub(crate) fn prometheus(shared: &Shared, registry: &Registry, request: &PageRequest<'_>) -> Page {
    let wanted = match Wanted::read(request) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    // What is none of Envoy's has no dotted name to be filtered by.
    let mut text = if wanted.is_everything() { metrics::own(registry) } else { String::new() };
    let mut writer = PrometheusText::new(&mut text);
    stats::visit(shared, &mut |stat| {
        if wanted.wants(stat) {
            writer.write(stat);
        }
    });
    if wanted.is_everything() {
        shared.proxy.write_istio_metrics(&mut text);
    }
    Page::typed(metrics::CONTENT_TYPE, text)
}

fn collect(shared: &Shared, wanted: &Wanted) -> BTreeMap<String, Shown> {
    let mut all = BTreeMap::new();
    stats::visit(shared, &mut |stat| {
        if wanted.wants(stat) {
            let shown = match stat.value {
                StatValue::Counter(value) | StatValue::Gauge(value) => Shown::Plain(value),
                StatValue::Histogram(values) => Shown::Histogram(values.clone()),
            };
            all.insert(stat.dotted(), shown);
        }
    });
    all
}

/// Numbers by name, then histograms.
fn as_text(all: BTreeMap<String, Shown>) -> String {
    let (mut text, mut histograms) = (String::new(), String::new());
    for (name, shown) in all {
        // Writing to a String does not fail.
        let _ = match shown {
            Shown::Plain(value) => writeln!(text, "{name}: {value}"),
            Shown::Histogram(values) if values.count() == 0 => {
                writeln!(histograms, "{name}: No recorded values")
            }
            Shown::Histogram(values) => {
                let buckets = cumulative(&values);
                let parts: Vec<_> = buckets.map(|(end, count)| format!("B{end}({count},{count})")).collect();
                writeln!(histograms, "{name}: {}", parts.join(" "))
            }
        };
    }
    text.push_str(&histograms);
    text
}

fn as_json(all: BTreeMap<String, Shown>) -> Value {
    let (mut stats, mut histograms) = (Vec::new(), Vec::new());
    for (name, shown) in all {
        match shown {
            Shown::Plain(value) => stats.push(json!({"name": name, "value": value})),
            Shown::Histogram(values) => {
                let bucket =
                    |(end, count)| json!({"upper_bound": end, "interval": count, "cumulative": count});
                let buckets: Vec<_> = cumulative(&values).map(bucket).collect();
                histograms.push(json!({"name": name, "buckets": buckets}));
            }
        }
    }
    if !histograms.is_empty() {
        stats.push(json!({"histograms": histograms}));
    }
    json!({"stats": stats})
}

/// How many durations were at most as long as each bucket's end.
fn cumulative(values: &HistogramValues) -> impl Iterator<Item = (f64, u64)> {
    BUCKETS.into_iter().zip(values.counts).scan(0, |sum, (end, count)| {
        *sum += count;
        Some((end, *sum))
    })
}
