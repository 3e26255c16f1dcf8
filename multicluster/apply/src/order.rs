// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! In which order objects are applied: what others need comes first.

/// Place of a kind: namespace, accounts, rights, configuration, Services, workloads, autoscalers, disruption budgets.
pub(crate) fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ServiceAccount" => 2,
        "ClusterRole" | "Role" => 3,
        "ClusterRoleBinding" | "RoleBinding" => 4,
        "ConfigMap" | "Secret" => 5,
        "Service" => 6,
        "Deployment" => 8,
        "HorizontalPodAutoscaler" => 9,
        "PodDisruptionBudget" => 11,
        "PodMonitor" | "ServiceMonitor" => 12,
        _ => 7,
    }
}
