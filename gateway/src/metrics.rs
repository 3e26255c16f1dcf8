// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Metrics of the process: the proxy's, the client's, plugins', the process's own.

use crate::admin::stats;
use crate::process::Shared;
use gateway_telemetry::{PageRequest, Pages, ProcessMetrics, encode_metrics, register_build_info};
use gateway_wasm::WasmHost;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Arc, Weak};

/// Prometheus' text format; the proxy's part is written in it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything but the proxy's own numbers.
pub(crate) fn registry(host: &WasmHost, shared: &Arc<Shared>) -> Registry {
    let mut registry = Registry::default();
    register_build_info(&mut registry, "gateway");
    registry.register_collector(Box::new(ProcessMetrics));
    registry.register_collector(Box::new(ClientMetrics { shared: Arc::downgrade(shared) }));
    host.register_metrics(&mut registry);
    registry
}

/// Adds the pages that scrapers know.
pub(crate) fn pages(pages: Pages, shared: &Arc<Shared>, registry: &Arc<Registry>) -> Pages {
    let page = || {
        let (shared, registry) = (shared.clone(), registry.clone());
        move |request: &PageRequest<'_>| stats::prometheus(&shared, &registry, request)
    };
    pages.get("/metrics", page()).get("/stats/prometheus", page())
}

/// What is none of Envoy's, as text.
pub(crate) fn own(registry: &Registry) -> String {
    let mut text = encode_metrics(registry);
    // The end mark belongs to the other format.
    text.truncate(text.strip_suffix("# EOF\n").unwrap_or(&text).len());
    text
}

/// Numbers of the xDS client and of configuration.
#[derive(Debug)]
struct ClientMetrics {
    shared: Weak<Shared>,
}

impl Collector for ClientMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let ready = i64::from(shared.readiness.is_ready());
        gauge(&mut encoder, "gatefleet_ready", "Whether the gateway should get traffic", ready)?;
        let generation = i64::try_from(shared.proxy.generation().unwrap_or_default()).unwrap_or(i64::MAX);
        gauge(
            &mut encoder,
            "gatefleet_config_generation",
            "Configurations installed since the start",
            generation,
        )?;
        let Some(view) = shared.client.get().map(|status| status.view()) else { return Ok(()) };
        let connected = i64::from(view.connected);
        gauge(&mut encoder, "gatefleet_xds_connected", "Whether a stream to the relay is open", connected)?;
        let streams = ConstCounter::new(view.streams);
        let help = "Streams to the relay opened";
        streams.encode(encoder.encode_descriptor(
            "gatefleet_xds_streams",
            help,
            None,
            streams.metric_type(),
        )?)?;
        if view.types.is_empty() {
            return Ok(());
        }
        let zero = ConstCounter::new(0_u64);
        let help = "Responses of the relay, by whether all of their resources were taken";
        let mut updates =
            encoder.encode_descriptor("gatefleet_xds_updates", help, None, zero.metric_type())?;
        for (kind, status) in &view.types {
            for (result, count) in [("accepted", status.accepted), ("rejected", status.rejected)] {
                let labels = [("type", kind.as_str()), ("result", result)];
                ConstCounter::new(count).encode(updates.encode_family(&labels)?)?;
            }
        }
        let zero = ConstGauge::new(0_i64);
        let mut held = encoder.encode_descriptor(
            "gatefleet_xds_resources",
            "Resources held",
            None,
            zero.metric_type(),
        )?;
        for (kind, status) in &view.types {
            let count = i64::try_from(status.resources).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(held.encode_family(&[("type", kind.as_str())])?)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: i64) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}
