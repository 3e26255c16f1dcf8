// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! OpenMetrics text and the metric that says which build runs.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::borrow::Cow;

/// Content type of [`encode_metrics`]' text.
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes a registry in the OpenMetrics text format.
#[must_use]
pub fn encode_metrics(registry: &Registry) -> String {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => text,
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            "# EOF\n".to_owned()
        }
    }
}

/// Registers `gatefleet_build_info{component, version, revision} 1`.
///
/// The revision is what `GATEFLEET_REVISION` held while this crate was built, else `unknown`.
pub fn register_build_info(registry: &mut Registry, component: &'static str) {
    let labels = [
        ("component", component),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", option_env!("GATEFLEET_REVISION").unwrap_or("unknown")),
    ];
    let labels = labels.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
    registry.sub_registry_with_labels(labels.into_iter()).register(
        "gatefleet_build_info",
        "The build that runs",
        ConstGauge::new(1_i64),
    );
}

#[cfg(test)]
mod tests {
    use super::{encode_metrics, register_build_info};
    use prometheus_client::registry::Registry;

    #[test]
    fn build_info_names_component_and_version() {
        let mut registry = Registry::default();
        register_build_info(&mut registry, "gateway");
        let text = encode_metrics(&registry);
        let line = text.lines().find(|line| line.starts_with("gatefleet_build_info{")).unwrap();
        assert!(line.contains("component=\"gateway\"") && line.contains(env!("CARGO_PKG_VERSION")), "{line}");
        assert!(line.ends_with(" 1"), "{line}");
        assert!(text.ends_with("# EOF\n"));
    }
}
