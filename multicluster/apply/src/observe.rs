// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the cluster's objects say of the gateways: readiness, addresses, and why not. Pure.

use crate::{Observed, ProblemReason, WorkloadProblem, WorkloadState};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Service};
use kube::ResourceExt as _;
use std::collections::BTreeSet;

/// Objects as last listed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) services: Vec<Service>,
    pub(crate) pods: Vec<Pod>,
}

/// Reads them.
pub(crate) fn observed(seen: &Seen) -> Observed {
    let mut observed = Observed::default();
    for deployment in &seen.deployments {
        let state = workload_state(deployment);
        if deployment.labels().get(crds::LABEL_COMPONENT).is_some_and(|c| c == "relay") {
            observed.relay = Some(state);
        } else {
            observed.gateways.insert(place(deployment), state);
        }
        observed.problems.extend(deployment_problem(deployment));
    }
    for service in &seen.services {
        let Some(gateway) = service.labels().get(crds::LABEL_GATEWAY) else { continue };
        let of = (service.namespace().unwrap_or_default(), gateway.clone());
        let found = addresses(service);
        if found.is_empty() && is_load_balancer(service) {
            observed.problems.insert(WorkloadProblem {
                reason: ProblemReason::AddressPending,
                message: format!(
                    "Service {}/{}, field status.loadBalancer: has no address yet; check the cluster's load balancer controller,                      or set template.service.type",
                    of.0,
                    service.name_any()
                ),
            });
        }
        observed.addresses.entry(of).or_default().extend(found);
    }
    observed.problems.extend(seen.pods.iter().flat_map(pod_problems));
    observed
}

fn place<K: kube::ResourceExt>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn workload_state(deployment: &Deployment) -> WorkloadState {
    let status = deployment.status.clone().unwrap_or_default();
    WorkloadState {
        desired: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        ready: status.ready_replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        current: status.observed_generation >= deployment.metadata.generation,
    }
}

/// Whether all pods of a Deployment are there, new and ready. Old pods that are ready prove nothing of the new ones.
pub(crate) fn is_settled(deployment: &Deployment) -> bool {
    let total = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let state = workload_state(deployment);
    state.is_ready() && total <= state.desired
}

/// Pods that could not even be made: quota, Pod Security, a missing account.
fn deployment_problem(deployment: &Deployment) -> Option<WorkloadProblem> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failed = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let (namespace, name) = place(deployment);
    Some(WorkloadProblem {
        reason: ProblemReason::PodsNotReady,
        message: format!(
            "Deployment {namespace}/{name}: its pods cannot be made: {}; lift the quota or policy, or change spec.template",
            failed.message.as_deref().unwrap_or_default()
        ),
    })
}

fn is_load_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

/// Addresses of a load balancer, external ones, or the cluster's own.
fn addresses(service: &Service) -> BTreeSet<String> {
    let Some(spec) = &service.spec else { return BTreeSet::new() };
    let mut found: BTreeSet<String> = spec.external_ips.iter().flatten().cloned().collect();
    if is_load_balancer(service) {
        let ingress = service
            .status
            .iter()
            .filter_map(|s| s.load_balancer.as_ref())
            .flat_map(|l| l.ingress.iter().flatten());
        found.extend(ingress.filter_map(|i| i.ip.clone().or_else(|| i.hostname.clone())));
    } else if spec.cluster_ip.as_deref().is_some_and(|ip| ip != "None" && !ip.is_empty()) {
        found.extend(spec.cluster_ip.clone());
    }
    found
}

fn pod_problems(pod: &Pod) -> Vec<WorkloadProblem> {
    let (namespace, name) = place(pod);
    let Some(status) = &pod.status else { return Vec::new() };
    let mut found = Vec::new();
    for condition in status.conditions.iter().flatten() {
        if condition.type_ == "PodScheduled" && condition.status == "False" {
            found.push(WorkloadProblem {
                reason: ProblemReason::PodsNotReady,
                message: format!(
                    "Pod {namespace}/{name} cannot be placed: {}; add nodes, or lower template.resources or template.topology",
                    condition.message.as_deref().unwrap_or_default()
                ),
            });
        }
    }
    let statuses =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    found.extend(statuses.filter_map(|container| container_problem(&namespace, &name, container)));
    found
}

fn container_problem(namespace: &str, pod: &str, container: &ContainerStatus) -> Option<WorkloadProblem> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    let at = format!("Pod {namespace}/{pod}, container {}", container.name);
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => Some(WorkloadProblem {
            reason: ProblemReason::ImagePullFailed,
            message: format!(
                "{at}, field image: {} cannot be pulled: {message}; check template.image and template.pullSecrets",
                container.image
            ),
        }),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(WorkloadProblem {
                reason: ProblemReason::PodsNotReady,
                message: format!(
                    "{at} cannot be started: {message}; check template.podPatch and the Secrets that it names"
                ),
            })
        }
        "CrashLoopBackOff" => Some(WorkloadProblem {
            reason: ProblemReason::PodsNotReady,
            message: format!(
                "{at} ends again and again: {message}; see kubectl logs -n {namespace} {pod} --previous"
            ),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_healthy_gateway_has_state_and_address() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "edge", "namespace": "n", "generation": 3, "labels": {"app.kubernetes.io/component": "gateway"}},
            "spec": {"replicas": 3, "selector": {}, "template": {}},
            "status": {"readyReplicas": 3, "updatedReplicas": 3, "observedGeneration": 3}
        }))
        .unwrap();
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "edge", "namespace": "n", "labels": {"gatefleet.dev/gateway": "edge"}},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.1.1.1"},
            "status": {"loadBalancer": {"ingress": [{"ip": "172.16.0.1"}, {"hostname": "lb.example"}]}}
        }))
        .unwrap();
        let seen =
            observed(&Seen { deployments: vec![deployment], services: vec![service], pods: Vec::new() });
        let key = ("n".to_owned(), "edge".to_owned());
        assert!(seen.gateways[&key].is_ready());
        assert_eq!(seen.addresses[&key], ["172.16.0.1", "lb.example"].map(str::to_owned).into());
        assert!(seen.problems.is_empty());
    }

    #[test]
    fn old_pods_that_are_ready_do_not_hide_new_ones_that_are_not() {
        let deployment = |status: serde_json::Value| -> Deployment {
            serde_json::from_value(json!({"metadata": {"name": "edge", "namespace": "n", "generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status}))
            .unwrap()
        };
        let rolling =
            json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "observedGeneration": 2});
        assert!(!is_settled(&deployment(rolling)));
        let done = json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "observedGeneration": 2});
        assert!(is_settled(&deployment(done)));
    }

    #[test]
    fn an_old_generation_is_not_ready() {
        let state = WorkloadState { desired: 1, ready: 1, updated: 1, current: false };
        assert!(!state.is_ready());
    }

    #[test]
    fn what_keeps_pods_away_is_named_with_field_and_remedy() {
        let pod = |status: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": status}))
                .unwrap()
        };
        let waiting = |reason: &str| {
            pod(
                json!({"containerStatuses": [{"name": "gateway", "image": "r/x:1", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "m"}}}]}),
            )
        };
        let unplaced =
            pod(json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}));
        let cases = [
            (waiting("ImagePullBackOff"), ProblemReason::ImagePullFailed, "template.image"),
            (waiting("ErrImagePull"), ProblemReason::ImagePullFailed, "r/x:1"),
            (waiting("CrashLoopBackOff"), ProblemReason::PodsNotReady, "--previous"),
            (waiting("CreateContainerConfigError"), ProblemReason::PodsNotReady, "cannot be started"),
            (unplaced, ProblemReason::PodsNotReady, "0/3 nodes"),
        ];
        for (pod, reason, text) in cases {
            let seen = observed(&Seen { pods: vec![pod], ..Seen::default() });
            let problem = seen.problems.first().expect("a problem");
            assert_eq!(problem.reason, reason);
            assert!(problem.message.contains(text) && problem.message.contains("n/p"), "{}", problem.message);
        }
        assert!(
            observed(&Seen { pods: vec![waiting("ContainerCreating")], ..Seen::default() })
                .problems
                .is_empty()
        );
    }

    #[test]
    fn a_load_balancer_without_address_is_a_problem() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "edge", "namespace": "n", "labels": {"gatefleet.dev/gateway": "edge"}},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.1.1.1"}
        }))
        .unwrap();
        let seen = observed(&Seen { services: vec![service], ..Seen::default() });
        assert_eq!(seen.problems.first().map(|p| p.reason), Some(ProblemReason::AddressPending));
    }
}
