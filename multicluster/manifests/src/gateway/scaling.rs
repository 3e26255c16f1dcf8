// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How many gateway pods there are, and how many an eviction may take.

use super::Part;
use serde_json::{Value, json};

/// The HPA; none where the template turns it off.
pub(super) fn autoscaler(part: Part<'_>) -> Option<Value> {
    let scaling = &part.input.template.autoscaling;
    scaling.enabled.then(|| {
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": part.metadata(part.name()),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": part.name()},
                "minReplicas": scaling.min_replicas,
                "maxReplicas": scaling.max_replicas,
                "metrics": [{
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": scaling.cpu_percent}},
                }],
                // Out at once, in slowly: a gateway that ends costs its clients their connections.
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 0,
                        "selectPolicy": "Max",
                        "policies": [
                            {"type": "Percent", "value": 100, "periodSeconds": 15},
                            {"type": "Pods", "value": 2, "periodSeconds": 15},
                        ],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": scaling.scale_down_stabilization_seconds,
                        "selectPolicy": "Max",
                        "policies": [
                            {"type": "Percent", "value": 25, "periodSeconds": 60},
                            {"type": "Pods", "value": 1, "periodSeconds": 60},
                        ],
                    },
                },
            },
        })
    })
}

/// The disruption budget. Pods that are not ready may always be evicted, or they would block a node's drain for ever.
pub(super) fn disruption_budget(part: Part<'_>) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": part.metadata(part.name()),
        "spec": {
            "maxUnavailable": part.input.template.disruption.max_unavailable,
            "selector": {"matchLabels": part.selector()},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    })
}
