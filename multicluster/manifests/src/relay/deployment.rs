// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay's Deployment.

use super::Part;
use serde_json::{Value, json};

pub(super) fn object(part: &Part<'_>, arguments: &[String]) -> Value {
    let template = &part.input.template.relay;
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": part.metadata(),
        "spec": {
            "replicas": template.replicas,
            "selector": {"matchLabels": part.selector()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": part.labels()}, "spec": pod_spec(part, arguments)},
        },
    })
}

fn pod_spec(part: &Part<'_>, arguments: &[String]) -> Value {
    let mut spec = json!({
        "serviceAccountName": part.name,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(part, arguments)],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        "topologySpreadConstraints": [{
            "topologyKey": "kubernetes.io/hostname",
            "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": part.selector()},
            "matchLabelKeys": ["pod-template-hash"],
        }],
    });
    let secrets = &part.input.template.pull_secrets;
    if !secrets.is_empty() {
        spec["imagePullSecrets"] = Value::Array(secrets.iter().map(|name| json!({"name": name})).collect());
    }
    spec
}

fn container(part: &Part<'_>, arguments: &[String]) -> Value {
    let input = part.input;
    let mut args = vec![
        "operator".to_owned(),
        "--roles=relay".to_owned(),
        format!("--fleet={}/{}", input.fleet.namespace, input.fleet.name),
        format!("--cluster={}", input.cluster),
    ];
    args.extend_from_slice(arguments);
    json!({
        "name": "relay",
        "image": input.template.relay.image.as_deref().unwrap_or(&input.images.relay),
        "args": args,
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": [
            {"name": "http", "containerPort": 8081, "protocol": "TCP"},
            {"name": "xds", "containerPort": 15010, "protocol": "TCP"},
            {"name": "issuer", "containerPort": 15012, "protocol": "TCP"},
        ],
        "resources": input.template.relay.resources,
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 60},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": "/var/lib/gatefleet"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    })
}
