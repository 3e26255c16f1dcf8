// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What holds for every object of every input.

use crate::sample::{input, inputs, workload};
use k8s_openapi::api::{apps, autoscaling, core, policy, rbac};
use multicluster_manifests::{Object, PortProtocol, build, container_port, relay_name, shortened};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn all() -> Vec<(String, Object)> {
    let objects = |(name, input)| {
        let resources = build(&input).unwrap();
        resources
            .objects()
            .iter()
            .map(|object| (format!("{name}: {}", object.label()), object.clone()))
            .collect::<Vec<_>>()
    };
    inputs().into_iter().flat_map(objects).collect()
}

fn value(object: &Object) -> Value {
    serde_json::to_value(&object.object).unwrap()
}

/// Reads a value as a type and back: a field that the type does not know gets lost.
fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<T>(value.clone()).unwrap()).unwrap()
}

#[test]
fn objects_hold_only_fields_of_their_types() {
    for (label, object) in all() {
        let before = value(&object);
        let after = match object.kind() {
            "Deployment" => round_trip::<apps::v1::Deployment>(&before),
            "Service" => round_trip::<core::v1::Service>(&before),
            "ServiceAccount" => round_trip::<core::v1::ServiceAccount>(&before),
            "ConfigMap" => round_trip::<core::v1::ConfigMap>(&before),
            "HorizontalPodAutoscaler" => round_trip::<autoscaling::v2::HorizontalPodAutoscaler>(&before),
            "PodDisruptionBudget" => round_trip::<policy::v1::PodDisruptionBudget>(&before),
            "Role" => round_trip::<rbac::v1::Role>(&before),
            "RoleBinding" => round_trip::<rbac::v1::RoleBinding>(&before),
            "ClusterRole" => round_trip::<rbac::v1::ClusterRole>(&before),
            "ClusterRoleBinding" => round_trip::<rbac::v1::ClusterRoleBinding>(&before),
            other => panic!("{label}: unexpected kind {other}"),
        };
        assert_eq!(before, after, "{label}");
    }
}

#[test]
fn objects_are_named_apart_and_labelled() {
    for (name, input) in inputs() {
        let resources = build(&input).unwrap();
        let labels: BTreeSet<String> = resources.objects().iter().map(Object::label).collect();
        assert_eq!(labels.len(), resources.objects().len(), "{name}");
        for object in resources.objects() {
            let labels = object.object.metadata.labels.clone().unwrap_or_default();
            for (key, expected) in [
                (crds::LABEL_MANAGED_BY, "gatefleet"),
                (crds::LABEL_FLEET, "edge"),
                (crds::LABEL_FLEET_NAMESPACE, "platform"),
                (crds::LABEL_CLUSTER, "eu-west-1"),
                (crds::LABEL_FLEET_UID, "7d0c2f5e-1111-4222-8333-444455556666"),
            ] {
                assert_eq!(labels.get(key).map(String::as_str), Some(expected), "{} {key}", object.label());
            }
        }
    }
}

#[test]
fn no_replicas_beside_an_autoscaler() {
    for (_, input) in inputs() {
        let resources = build(&input).unwrap();
        for workload in resources.gateways() {
            let (namespace, name) = (workload.id.namespace.as_str(), workload.id.name.as_str());
            let scaled = resources.find("HorizontalPodAutoscaler", namespace, name).is_some();
            let deployment = resources.find("Deployment", namespace, name).unwrap();
            assert_eq!(scaled, deployment.data.pointer("/spec/replicas").is_none(), "{name}");
        }
        for object in resources.objects() {
            let expects =
                object.kind() == "Deployment" && object.object.data.pointer("/spec/replicas").is_none();
            assert_eq!(object.initial_replicas.is_some(), expects, "{}", object.label());
        }
    }
}

#[test]
fn pods_fit_the_restricted_standard_and_their_selectors() {
    for (label, object) in all() {
        if object.kind() != "Deployment" {
            continue;
        }
        let value = value(&object);
        let pod = &value["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{label}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{label}");
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{label}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{label}");
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}), "{label}");
        for mount in container["volumeMounts"].as_array().unwrap() {
            let volumes = pod["volumes"].as_array().unwrap();
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{label}: {mount}");
        }
        let labels = value["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
        for (key, expected) in value["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(labels.get(key), Some(expected), "{label}: {key}");
        }
    }
}

#[test]
fn services_reach_the_ports_of_their_pods() {
    for (name, input) in inputs() {
        let resources = build(&input).unwrap();
        for workload in resources.gateways() {
            let (namespace, gateway) = (workload.id.namespace.as_str(), workload.id.name.as_str());
            let deployment = resources.find("Deployment", namespace, gateway).unwrap();
            let open = deployment
                .data
                .pointer("/spec/template/spec/containers/0/ports")
                .unwrap()
                .as_array()
                .unwrap();
            let service = resources.find("Service", namespace, gateway).unwrap();
            for port in service.data.pointer("/spec/ports").unwrap().as_array().unwrap() {
                let is_target = |p: &&Value| {
                    p["containerPort"] == port["targetPort"] && p["protocol"] == port["protocol"]
                };
                assert!(open.iter().any(|p| is_target(&p)), "{name} {gateway}: {port}");
            }
        }
    }
    assert_eq!((container_port(80), container_port(1023), container_port(8080)), (10080, 11023, 8080));
}

#[test]
fn nothing_changes_without_a_change() {
    for (name, input) in inputs() {
        assert_eq!(build(&input).unwrap(), build(&input).unwrap(), "{name}");
    }
}

#[test]
fn a_new_trust_bundle_restarts_nobody_and_a_new_bootstrap_everybody() {
    let pod = |input| {
        let resources = build(&input).unwrap();
        resources
            .find("Deployment", "gateways", "edge")
            .unwrap()
            .data
            .pointer("/spec/template")
            .cloned()
            .unwrap()
    };
    let before = pod(input(json!({})));
    let mut rotated = input(json!({}));
    rotated.trust_bundle.push_str("more");
    assert_eq!(pod(rotated), before);
    let mut renamed = input(json!({}));
    renamed.cluster = "eu-west-2".into();
    assert_ne!(pod(renamed)["metadata"]["annotations"], before["metadata"]["annotations"]);
}

#[test]
fn a_pod_patch_keeps_what_selectors_rest_on() {
    let patch = json!({"metadata": {"labels": {crds::LABEL_GATEWAY: "other", "istio": "ingressgateway"}}});
    let resources = build(&input(json!({"podPatch": patch}))).unwrap();
    let deployment = resources.find("Deployment", "gateways", "edge").unwrap();
    let labels = deployment.data.pointer("/spec/template/metadata/labels").unwrap();
    assert_eq!((&labels[crds::LABEL_GATEWAY], &labels["istio"]), (&json!("edge"), &json!("ingressgateway")));
}

#[test]
fn a_pod_patch_of_wrong_shape_is_refused() {
    let error = build(&input(json!({"podPatch": {"spec": {"containers": "many"}}}))).unwrap_err();
    assert!(
        error.to_string().starts_with("template.podPatch does not merge to a valid pod template"),
        "{error}"
    );
}

#[test]
fn a_gateway_without_ports_keeps_its_address() {
    let mut input = input(json!({}));
    input.gateways = vec![workload("edge", &[])];
    let resources = build(&input).unwrap();
    let service = resources.find("Service", "gateways", "edge").unwrap();
    assert_eq!(service.data.pointer("/spec/ports/0/port"), Some(&json!(15021)));
}

#[test]
fn names_of_long_gateways_fit() {
    let mut input = input(json!({}));
    let name = shortened(&"a-very-long-name-of-a-gateway-".repeat(4));
    input.gateways = vec![workload(&name, &[80])];
    for object in build(&input).unwrap().objects() {
        assert!(object.object.metadata.name.as_deref().unwrap().len() <= 63, "{}", object.label());
        for label in object.object.metadata.labels.iter().flatten() {
            assert!(label.1.len() <= 63, "{label:?}");
        }
    }
    assert_eq!(relay_name("edge"), "edge-relay");
    assert_eq!(PortProtocol::Udp.as_str(), "UDP");
}
