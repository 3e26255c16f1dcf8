// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway's Deployment.

use super::Part;
use super::service::container_port;
use crate::{ManifestError, RELAY_AUDIENCE, patch};
use crds::gateway_fleet::WhenUnsatisfiable;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Name of the gateway's container; pod patches merge by it.
const CONTAINER: &str = "gateway";

pub(super) fn object(part: Part<'_>, bootstrap: &str) -> Result<Value, ManifestError> {
    let template = &part.input.template;
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": part.metadata(part.name()),
        "spec": {
            "selector": {"matchLabels": part.selector()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": {"metadata": pod_metadata(part, bootstrap), "spec": pod_spec(part)},
        },
    });
    if !template.autoscaling.enabled {
        deployment["spec"]["replicas"] = json!(template.autoscaling.min_replicas);
    }
    patch::pod(&mut deployment, &template.pod_patch)?;
    Ok(deployment)
}

/// The hash of the bootstrap replaces pods when it changes: gateways read it once.
fn pod_metadata(part: Part<'_>, bootstrap: &str) -> Value {
    let digest: String =
        Sha256::digest(bootstrap.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut annotations = part.workload.annotations.clone();
    annotations.insert("gatefleet.dev/bootstrap-hash".to_owned(), digest);
    annotations.insert("kubectl.kubernetes.io/default-container".to_owned(), CONTAINER.to_owned());
    json!({"labels": part.labels(), "annotations": annotations})
}

fn pod_spec(part: Part<'_>) -> Value {
    let template = &part.input.template;
    let mut spec = json!({
        "serviceAccountName": part.name(),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": i64::from(template.drain_seconds) + 15,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(part)],
        "volumes": [
            {"name": "bootstrap", "configMap": {"name": part.bootstrap_name()}},
            {"name": "trust", "configMap": {"name": part.trust_name()}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"audience": RELAY_AUDIENCE, "expirationSeconds": 3600, "path": "token"}},
            ]}},
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    });
    let spread = spread(part);
    if !spread.is_empty() {
        spec["topologySpreadConstraints"] = Value::Array(spread);
    }
    if !template.pull_secrets.is_empty() {
        let names: Vec<Value> = template.pull_secrets.iter().map(|name| json!({"name": name})).collect();
        spec["imagePullSecrets"] = Value::Array(names);
    }
    spec
}

fn container(part: Part<'_>) -> Value {
    let template = &part.input.template;
    json!({
        "name": CONTAINER,
        "image": template.image.as_deref().unwrap_or(&part.input.images.gateway),
        "args": ["--bootstrap", "/etc/gatefleet/bootstrap.yaml"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": ports(part),
        "resources": template.resources,
        // Ready is what the gateway itself says. It lives while it accepts connections: a gateway without
        // configuration is not ready, and a restart would not help it.
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": "readiness"}, "periodSeconds": 1, "failureThreshold": 2},
        "livenessProbe": {"tcpSocket": {"port": "readiness"}, "periodSeconds": 10, "failureThreshold": 3},
        "startupProbe": {"tcpSocket": {"port": "readiness"}, "periodSeconds": 1, "failureThreshold": 60},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "bootstrap", "mountPath": "/etc/gatefleet", "readOnly": true},
            {"name": "trust", "mountPath": "/var/run/gatefleet/trust", "readOnly": true},
            {"name": "token", "mountPath": "/var/run/gatefleet/token", "readOnly": true},
            {"name": "state", "mountPath": "/var/lib/gatefleet"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    })
}

fn ports(part: Part<'_>) -> Vec<Value> {
    let traffic = part.workload.ports.iter().map(|port| {
        let protocol = port.protocol.as_str();
        let name = format!("{}-{}", protocol.to_lowercase(), port.port);
        json!({"name": name, "containerPort": container_port(port.port), "protocol": protocol})
    });
    let own = [
        json!({"name": "readiness", "containerPort": 15021, "protocol": "TCP"}),
        json!({"name": "metrics", "containerPort": part.input.template.metrics.port, "protocol": "TCP"}),
    ];
    traffic.chain(own).collect()
}

fn spread(part: Part<'_>) -> Vec<Value> {
    let topology = &part.input.template.topology;
    let constraint = |key: &str, rule: WhenUnsatisfiable| {
        (rule != WhenUnsatisfiable::Ignore).then(|| {
            json!({
                "topologyKey": key,
                "maxSkew": topology.max_skew,
                "whenUnsatisfiable": rule,
                "labelSelector": {"matchLabels": part.selector()},
                "matchLabelKeys": ["pod-template-hash"],
            })
        })
    };
    let zone = constraint("topology.kubernetes.io/zone", topology.zone);
    let node = constraint("kubernetes.io/hostname", topology.node);
    zone.into_iter().chain(node).collect()
}
