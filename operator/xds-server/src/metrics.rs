// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Figures of the xDS server.

use gateway_xds_api::ResourceType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The resource type of a figure.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: String,
}

/// The result of a certificate request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Counters and gauges; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) streams: Gauge,
    pub(crate) refused: Counter,
    pushes: Family<TypeLabel, Counter>,
    resources: Family<TypeLabel, Counter>,
    sent: Family<TypeLabel, Counter>,
    acks: Family<TypeLabel, Counter>,
    nacks: Family<TypeLabel, Counter>,
    issued: Family<ResultLabel, Counter>,
}

impl Metrics {
    /// Puts the figures into a registry, as `xds_*`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("xds");
        registry.register("streams", "Open ADS streams", self.streams.clone());
        registry.register("streams_refused", "ADS streams that were refused", self.refused.clone());
        registry.register("pushes", "Responses sent, by type", self.pushes.clone());
        registry.register("resources", "Resources and removals sent, by type", self.resources.clone());
        registry.register_with_unit("sent", "Encoded responses, by type", Unit::Bytes, self.sent.clone());
        registry.register("acks", "Responses that proxies took, by type", self.acks.clone());
        registry.register("nacks", "Responses that proxies refused, by type", self.nacks.clone());
        registry.register("certificates", "Certificate requests, by result", self.issued.clone());
    }

    pub(crate) fn pushed(&self, kind: ResourceType, resources: usize, bytes: usize) {
        let label = TypeLabel { r#type: kind.to_string() };
        self.pushes.get_or_create(&label).inc();
        self.resources.get_or_create(&label).inc_by(resources as u64);
        self.sent.get_or_create(&label).inc_by(bytes as u64);
    }

    pub(crate) fn answered(&self, kind: ResourceType, taken: bool) {
        let family = if taken { &self.acks } else { &self.nacks };
        family.get_or_create(&TypeLabel { r#type: kind.to_string() }).inc();
    }

    pub(crate) fn issued(&self, result: &'static str) {
        self.issued.get_or_create(&ResultLabel { result }).inc();
    }

    /// Bytes sent so far, by type.
    #[must_use]
    pub fn bytes_sent(&self, kind: ResourceType) -> u64 {
        self.sent.get_or_create(&TypeLabel { r#type: kind.to_string() }).get()
    }
}
