// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Evidence that a wave needs before the next one opens.

use crate::{Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a cluster must show, stamped with the new revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// Acknowledgement of the configuration by gateways.
    #[serde(default)]
    pub config: ConfigGate,
    /// Readiness of gateway pods.
    #[serde(default)]
    pub workload: WorkloadGate,
    /// Request metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<MetricGate>,
}

/// Acknowledgement of the configuration by gateways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigGate {
    /// Gateways of the cluster that must have acknowledged.
    #[serde(default = "all")]
    pub min_acked: Share,
    /// Gateways of the cluster that may have rejected.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub max_nacked: i32,
    /// How long a gateway may take to answer before it counts as unknown.
    #[serde(default = "default_window")]
    pub window: Span,
}

/// Readiness of gateway pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadGate {
    /// Gateways of the cluster that must be ready.
    #[serde(default = "default_min_ready")]
    pub min_ready: Share,
}

/// A limit on a request metric, compared with the cluster's own past and with clusters still on the old revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricGate {
    /// Unique within the gates.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Who measures.
    #[serde(default)]
    pub source: MetricSource,
    /// What is measured.
    pub signal: MetricSignal,
    /// Highest value, a decimal number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?$"), length(max = 16))]
    pub max: Option<String>,
    /// Highest rise over the baseline, a decimal number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?$"), length(max = 16))]
    pub max_delta: Option<String>,
    /// Highest multiple of the baseline, a decimal number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?$"), length(max = 16))]
    pub max_ratio: Option<String>,
    /// Time between samples.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// Samples that decide.
    #[serde(default = "default_samples")]
    #[schemars(range(min = 1, max = 100))]
    pub samples: i32,
    /// Fewer requests than this are no evidence.
    #[serde(default = "default_min_requests")]
    #[schemars(range(min = 0))]
    pub min_requests: i32,
    /// What no evidence means; never a pass.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// Query, for the source Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub query: Option<String>,
}

/// Who measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricSource {
    /// The relay, from its gateways.
    #[default]
    Gateway,
    /// A Prometheus server.
    Prometheus,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricSignal {
    /// Answers 5xx among all.
    ErrorRatio,
    /// 50th percentile of request time.
    LatencyP50,
    /// 99th percentile of request time.
    LatencyP99,
    /// The query's value.
    Query,
}

/// What too little data means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNoData {
    /// The soak is extended up to the progress deadline, then the rollout pauses.
    #[default]
    Inconclusive,
    /// The gate fails.
    Fail,
}

impl Default for ConfigGate {
    fn default() -> Self {
        Self { min_acked: all(), max_nacked: 0, window: default_window() }
    }
}

impl Default for WorkloadGate {
    fn default() -> Self {
        Self { min_ready: default_min_ready() }
    }
}

fn all() -> Share {
    Share::percent(100)
}

fn default_window() -> Span {
    "60s".into()
}

fn default_min_ready() -> Share {
    Share::percent(90)
}

fn default_interval() -> Span {
    "30s".into()
}

fn default_samples() -> i32 {
    5
}

fn default_min_requests() -> i32 {
    200
}
