// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway's Services: one for traffic, a headless one for metrics.

use super::Part;
use crate::{GatewayPort, PortProtocol, names};
use crds::gateway_fleet::ServiceType;
use serde_json::{Value, json};

/// The port that a pod binds for a port that clients use: pods may not bind below 1024.
#[must_use]
pub fn container_port(port: u16) -> u16 {
    if port < 1024 { port + 10_000 } else { port }
}

/// Name of a gateway's headless metrics Service.
#[must_use]
pub fn metrics_service_name(gateway: &str) -> String {
    names::with_suffix(gateway, "metrics")
}

pub(super) fn traffic(part: Part<'_>) -> Value {
    let template = &part.input.template.service;
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": part.metadata(part.name()),
        "spec": {"type": template.service_type, "selector": part.selector(), "ports": ports(&part.workload.ports)},
    });
    for (key, value) in &template.annotations {
        service["metadata"]["annotations"][key] = json!(value);
    }
    let spec = &mut service["spec"];
    let addresses = &part.workload.addresses;
    if template.service_type == ServiceType::LoadBalancer {
        if let Some(class) = &template.load_balancer_class {
            spec["loadBalancerClass"] = json!(class);
        }
        if let Some(address) = addresses.first() {
            spec["loadBalancerIP"] = json!(address);
        }
    } else if !addresses.is_empty() {
        spec["externalIPs"] = json!(addresses);
    }
    if template.service_type != ServiceType::ClusterIP {
        spec["externalTrafficPolicy"] = json!(template.external_traffic_policy);
    }
    service
}

/// A Service needs a port; a gateway that has none yet shows its readiness, so that its address stays.
fn ports(ports: &[GatewayPort]) -> Vec<Value> {
    if ports.is_empty() {
        return vec![json!({"name": "status", "port": 15021, "targetPort": 15021, "protocol": "TCP"})];
    }
    let entry = |port: &GatewayPort| {
        json!({
            "name": format!("{}-{}", port.protocol.as_str().to_lowercase(), port.port),
            "port": port.port,
            "targetPort": container_port(port.port),
            "protocol": port.protocol.as_str(),
        })
    };
    ports.iter().map(entry).collect()
}

pub(super) fn metrics(part: Part<'_>) -> Value {
    let port = part.input.template.metrics.port;
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": part.metadata(&metrics_service_name(part.name())),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": part.selector(),
            "ports": [{"name": "http-metrics", "port": port, "targetPort": port, "protocol": PortProtocol::Tcp.as_str()}],
        },
    });
    let annotations = &mut service["metadata"]["annotations"];
    annotations["prometheus.io/scrape"] = json!("true");
    annotations["prometheus.io/port"] = json!(port.to_string());
    annotations["prometheus.io/path"] = json!("/stats/prometheus");
    service["metadata"]["labels"]["gatefleet.dev/service"] = json!("metrics");
    service
}
