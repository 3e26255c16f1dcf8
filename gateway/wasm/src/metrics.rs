// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Metrics that plugins define, exported with the gateway's own.

use crate::abi::Status;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Longest name of a metric.
const NAME_BYTES: usize = 512;

/// Metrics of all plugins of the process.
#[derive(Debug, Default)]
pub(crate) struct PluginMetrics {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<(Arc<str>, String), usize>,
    metrics: Vec<Metric>,
    of_plugin: HashMap<Arc<str>, usize>,
}

#[derive(Clone, Debug)]
struct Metric {
    plugin: Arc<str>,
    name: String,
    kind: Kind,
    /// Counter, gauge, or a histogram's sum.
    value: u64,
    /// A histogram's recordings.
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl PluginMetrics {
    /// The number of a metric; defining it again gives the same one.
    pub(crate) fn define(
        &self,
        plugin: &Arc<str>,
        kind: u32,
        name: &str,
        limit: usize,
    ) -> Result<u32, Status> {
        let kind = match kind {
            0 => Kind::Counter,
            1 => Kind::Gauge,
            2 => Kind::Histogram,
            _ => return Err(Status::BadArgument),
        };
        if name.is_empty() || name.len() > NAME_BYTES {
            return Err(Status::BadArgument);
        }
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let key = (plugin.clone(), name.to_owned());
        if let Some(id) = inner.ids.get(&key) {
            return if inner.metrics[*id].kind == kind { Ok(*id as u32) } else { Err(Status::BadArgument) };
        }
        let count = inner.of_plugin.entry(plugin.clone()).or_default();
        if *count >= limit {
            return Err(Status::InternalFailure);
        }
        *count += 1;
        let id = inner.metrics.len();
        inner.ids.insert(key, id);
        inner.metrics.push(Metric {
            plugin: plugin.clone(),
            name: name.to_owned(),
            kind,
            value: 0,
            count: 0,
        });
        Ok(id as u32)
    }

    /// Adds to a counter or gauge.
    pub(crate) fn increment(&self, plugin: &Arc<str>, id: u32, offset: i64) -> Result<(), Status> {
        self.change(plugin, id, |metric| match metric.kind {
            Kind::Counter if offset < 0 => Err(Status::BadArgument),
            Kind::Counter | Kind::Gauge => {
                metric.value = metric.value.wrapping_add_signed(offset);
                Ok(())
            }
            Kind::Histogram => Err(Status::BadArgument),
        })
    }

    /// Sets a gauge, or records into a histogram.
    pub(crate) fn record(&self, plugin: &Arc<str>, id: u32, value: u64) -> Result<(), Status> {
        self.change(plugin, id, |metric| match metric.kind {
            Kind::Counter => Err(Status::BadArgument),
            Kind::Gauge => {
                metric.value = value;
                Ok(())
            }
            Kind::Histogram => {
                metric.value = metric.value.wrapping_add(value);
                metric.count += 1;
                Ok(())
            }
        })
    }

    /// Reads a counter or gauge.
    pub(crate) fn get(&self, plugin: &Arc<str>, id: u32) -> Result<u64, Status> {
        let mut value = 0;
        self.change(plugin, id, |metric| {
            value = metric.value;
            if metric.kind == Kind::Histogram { Err(Status::BadArgument) } else { Ok(()) }
        })?;
        Ok(value)
    }

    /// A plugin reaches its own metrics only.
    fn change(
        &self,
        plugin: &Arc<str>,
        id: u32,
        change: impl FnOnce(&mut Metric) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let mut inner = self.inner.lock();
        let metric = inner.metrics.get_mut(id as usize).filter(|metric| metric.plugin == *plugin);
        change(metric.ok_or(Status::NotFound)?)
    }
}

impl Collector for PluginMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        // One family for each name, as the format demands; the plugin is a label.
        let mut families: BTreeMap<String, Vec<Metric>> = BTreeMap::new();
        for metric in self.inner.lock().metrics.iter().cloned() {
            families.entry(format!("wasmcustom_{}", plain(&metric.name))).or_default().push(metric);
        }
        for (name, metrics) in families {
            let kind = metrics[0].kind;
            let metrics: Vec<_> = metrics.into_iter().filter(|metric| metric.kind == kind).collect();
            match kind {
                Kind::Counter => family(&mut encoder, &name, &metrics, |m| ConstCounter::new(m.value))?,
                Kind::Gauge => {
                    family(&mut encoder, &name, &metrics, |m| ConstGauge::new(m.value.cast_signed()))?
                }
                Kind::Histogram => {
                    family(&mut encoder, &format!("{name}_sum"), &metrics, |m| ConstCounter::new(m.value))?;
                    family(&mut encoder, &format!("{name}_count"), &metrics, |m| ConstCounter::new(m.count))?;
                }
            }
        }
        Ok(())
    }
}

fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    metrics: &[Metric],
    value: impl Fn(&Metric) -> M,
) -> Result<(), fmt::Error> {
    let Some(first) = metrics.first() else { return Ok(()) };
    let kind = value(first).metric_type();
    let mut family = encoder.encode_descriptor(name, "Defined by a plugin", None, kind)?;
    for metric in metrics {
        let labels = [("plugin", metric.plugin.as_ref())];
        value(metric).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A name in the characters that metrics may have.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::PluginMetrics;
    use crate::abi::Status;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use std::sync::Arc;

    #[test]
    fn plugins_define_change_and_export_their_own_metrics() {
        let metrics = Arc::new(PluginMetrics::default());
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let counter = metrics.define(&one, 0, "requests.total", 3).unwrap();
        assert_eq!(metrics.define(&one, 0, "requests.total", 3), Ok(counter));
        assert_eq!(metrics.define(&one, 1, "requests.total", 3), Err(Status::BadArgument));
        let gauge = metrics.define(&one, 1, "level", 3).unwrap();
        let histogram = metrics.define(&one, 2, "time", 3).unwrap();
        assert_eq!(metrics.define(&one, 0, "more", 3), Err(Status::InternalFailure));
        metrics.increment(&one, counter, 2).unwrap();
        assert_eq!(metrics.increment(&one, counter, -1), Err(Status::BadArgument));
        assert_eq!(metrics.increment(&two, counter, 1), Err(Status::NotFound), "another plugin's metric");
        metrics.record(&one, gauge, 7).unwrap();
        metrics.increment(&one, gauge, -3).unwrap();
        metrics.record(&one, histogram, 5).unwrap();
        metrics.record(&one, histogram, 6).unwrap();
        assert_eq!((metrics.get(&one, counter), metrics.get(&one, gauge)), (Ok(2), Ok(4)));
        assert_eq!(metrics.record(&one, 99, 1), Err(Status::NotFound));

        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "wasmcustom_requests_total_total{plugin=\"one\"} 2",
            "wasmcustom_level{plugin=\"one\"} 4",
            "wasmcustom_time_sum_total{plugin=\"one\"} 11",
            "wasmcustom_time_count_total{plugin=\"one\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
