# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The objects that the suites apply, as users would write them."""
from __future__ import annotations

from e2e.kube import Document

FLEET = "edge"
NAMESPACE = "gateways"
APPS = "shop"


# A pod that breaks the strictest level of Pod Security is refused in these namespaces.
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}


def namespace(name: str) -> Document:
    """A namespace where only pods of Pod Security's level `restricted` start."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}


def cluster(name: str, spec: Document, labels: dict[str, str]) -> Document:
    """A FleetCluster."""
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "gatefleet.dev/v1alpha1", "kind": "FleetCluster", "metadata": metadata, "spec": spec}


def kubeconfig_secret(name: str, text: str) -> Document:
    """A Secret with a kubeconfig, as operators of other tools write it."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"kubeconfig": text}}


def fleet(clusters: list[str], plugin: str = "", minimum: int = 2, maximum: int = 4) -> Document:
    """A GatewayFleet with one HTTP listener; autoscaling reacts fast enough to be watched."""
    spec: Document = {
        "targetNamespace": NAMESPACE,
        "trustDomain": "edge.example",
        "clusters": {"names": clusters},
        "template": {
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            "autoscaling": {"minReplicas": minimum, "maxReplicas": maximum, "cpuPercent": 70},
            "resources": {"requests": {"cpu": "60m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
            "drainSeconds": 10,
        },
        "configSources": [
            {"name": "routes", "gatewayAPI": {"gatewayClassName": "gatefleet"}},
            {"name": "ingresses", "ingress": {"ingressClassName": "gatefleet"}},
        ],
        "overrides": [
            {
                "name": "quick-scale-in",
                "names": clusters,
                "patches": [
                    {
                        "target": "HorizontalPodAutoscaler",
                        "op": "add",
                        "path": "/spec/behavior",
                        "value": {"scaleDown": {"stabilizationWindowSeconds": 15}},
                    }
                ],
            }
        ],
    }
    if plugin:
        spec["plugins"] = [{"name": "stamp", "phase": "Stats", "failurePolicy": "FailOpen", "oci": {"image": plugin}, "config": {}}]
    metadata = {"name": FLEET, "namespace": NAMESPACE}
    return {"apiVersion": "gatefleet.dev/v1alpha1", "kind": "GatewayFleet", "metadata": metadata, "spec": spec}


def backend(name: str, image: str, cluster_name: str) -> list[Document]:
    """A Deployment of the demo backend with its Service."""
    labels = {"app": name}
    container = {
        "name": "backend",
        "image": image,
        "args": ["demo-backend", "--listen", "0.0.0.0:8080", "--name", f"{name}/{cluster_name}"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"metadata": {"labels": labels}, "spec": {"securityContext": security, "containers": [container]}}
    metadata = {"name": name, "namespace": APPS}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        },
    ]


def route(first: int, second: int) -> Document:
    """An HTTPRoute that splits between two versions; its weights change in the suites."""
    parent = {"group": "gatefleet.dev", "kind": "GatewayFleet", "name": FLEET, "namespace": NAMESPACE}
    backends = [{"name": "shop-v1", "port": 80, "weight": first}, {"name": "shop-v2", "port": 80, "weight": second}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": APPS},
        "spec": {"parentRefs": [parent], "hostnames": ["shop.example"], "rules": [{"backendRefs": backends}]},
    }


def route_to(name: str, host: str, service: str) -> Document:
    """An HTTPRoute of the fleet for one host and one Service."""
    made = route(1, 0)
    made["metadata"] = {"name": name, "namespace": APPS}
    made["spec"].update(hostnames=[host], rules=[{"backendRefs": [{"name": service, "port": 80}]}])  # type: ignore[attr-defined]
    return made


def simple_ingress() -> Document:
    """The Ingress that every introduction to the topic shows: one host, one path, no class."""
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "my-service", "port": {"number": 80}}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "simple-ingress", "namespace": APPS},
        "spec": {"rules": [{"host": "my.example.com", "http": {"paths": [path]}}]},
    }
