# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The objects of the benchmark: one fleet on one Host cluster, one backend, many HTTPRoutes."""
from __future__ import annotations

import json
from pathlib import Path

from bench.api_server import BenchError, Client, wait_for

GATEWAYS = "gateways"
SHOP = "shop"
ADDRESS = "127.0.0.4"
PORT = 8080
HEADER = "x-change"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{SHOP}/httproutes"
FLEET_KINDS = f"/apis/gatefleet.dev/v1alpha1/namespaces/{GATEWAYS}"


def install(client: Client, root: Path) -> None:
    """Our kinds and those of the Gateway API, by server-side apply, until they are served."""
    files = sorted((root / "crds" / "generated").glob("*.yaml")) + sorted((root / "crds" / "gateway-api").glob("*.yaml"))
    names = []
    for file in files:
        # Files are named GROUP_PLURAL.yaml.
        group, plural = file.stem.rsplit("_", 1)
        names.append(f"{plural}.{group}")
        client.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}", file.read_bytes())
    for name in names:
        wait_for(f"the kind {name}", 30, lambda name=name: established(client, name))


def established(client: Client, name: str) -> bool:
    """Whether a kind is served."""
    return condition(client.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"), "Established")


def condition(found: dict[str, object], kind: str) -> bool:
    """Whether a condition of an object is True."""
    status = found.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def create_fleet(client: Client, backend: tuple[str, int]) -> None:
    """Namespaces, the Service with its endpoint, the cluster and the fleet."""
    for name in (GATEWAYS, SHOP, "gatefleet-system"):
        client.send("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    address, port = backend
    service = {"metadata": {"name": "backend"}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": port}]}}
    client.send("POST", f"/api/v1/namespaces/{SHOP}/services", service)
    endpoints = {
        "metadata": {"name": "backend-1", "labels": {"kubernetes.io/service-name": "backend"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }
    client.send("POST", f"/apis/discovery.k8s.io/v1/namespaces/{SHOP}/endpointslices", endpoints)
    cluster = {
        "apiVersion": "gatefleet.dev/v1alpha1",
        "kind": "FleetCluster",
        "metadata": {"name": "bench", "namespace": GATEWAYS},
        "spec": {"mode": "Host", "host": {"address": ADDRESS, "replicas": 2}},
    }
    client.send("POST", f"{FLEET_KINDS}/fleetclusters", cluster)
    fleet = {
        "apiVersion": "gatefleet.dev/v1alpha1",
        "kind": "GatewayFleet",
        "metadata": {"name": "edge", "namespace": GATEWAYS},
        "spec": {
            "targetNamespace": GATEWAYS,
            "trustDomain": "edge.example",
            "clusters": {"names": ["bench"]},
            "template": {"listeners": [{"name": "http", "port": PORT, "protocol": "HTTP"}]},
        },
    }
    client.send("POST", f"{FLEET_KINDS}/gatewayfleets", fleet)


def name_of(number: int) -> str:
    """Name of a route."""
    return f"route-{number:05}"


def host_of(number: int) -> str:
    """Host of a route: its own."""
    return f"{name_of(number)}.example"


def rules(value: str) -> list[dict[str, object]]:
    """The rules of every route; the value comes back in each answer."""
    change = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": HEADER, "value": value}]}}
    return [{"backendRefs": [{"name": "backend", "port": 80}], "filters": [change]}]


def route(number: int) -> dict[str, object]:
    """A new route."""
    parent = {"group": "gatefleet.dev", "kind": "GatewayFleet", "name": "edge", "namespace": GATEWAYS}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name_of(number), "namespace": SHOP},
        "spec": {"parentRefs": [parent], "hostnames": [host_of(number)], "rules": rules("new")},
    }


def change(client: Client, number: int, value: str) -> None:
    """Changes one route."""
    client.send("PATCH", f"{ROUTES}/{name_of(number)}", {"spec": {"rules": rules(value)}}, "application/merge-patch+json")


def resource_version(client: Client) -> str:
    """From where a watch tells all that comes."""
    metadata = client.get(f"{ROUTES}?limit=1").get("metadata")
    if not isinstance(metadata, dict):
        raise BenchError("a list without metadata")
    return str(metadata["resourceVersion"])
