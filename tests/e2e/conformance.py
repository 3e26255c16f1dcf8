# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The official Gateway API suite against our operator and gateways on a real cluster."""
from __future__ import annotations

import json

from e2e import objects
from e2e.kube import Document, condition, wait_for
from e2e.world import World, cluster_kubeconfig
from runner.process import run as command
from runner.report import REPORTS, Result

CLASS = "gateway-conformance"


def run(profiles: str, only: str = "", limit: float = 3000) -> Result:
    """One cluster, hub and relay in one process, features inferred from the GatewayClass."""
    result = Result()
    world = World(result)
    try:
        if world.start(1) and world.push_images() and world.install("hub,relay"):
            declare(world)
            suite(world, profiles, only, limit)
    finally:
        world.stop()
    return result


def declare(world: World) -> None:
    """A fleet on this cluster and the GatewayClass that names it."""
    world.alpha.apply(objects.namespace(objects.NAMESPACE))
    world.alpha.apply(objects.cluster("alpha", {"mode": "Push", "local": True}, {}), conformance_fleet(), gateway_class())
    wait_for(
        "the GatewayClass to be Accepted",
        lambda: condition(world.alpha.get("gatewayclass", CLASS), "Accepted").get("status") == "True",
        60,
    )


def suite(world: World, profiles: str, only: str, limit: float) -> None:
    """Runs the official binary and takes over its counts."""
    env = {"KUBECONFIG": cluster_kubeconfig("alpha"), "PROFILES": profiles, "GATEWAY_CLASS": CLASS, "RUN_TEST": only}
    done = command("conformance", ["tests/conformance/run"], limit, env)
    report = REPORTS / "conformance.json"
    if not report.exists():
        world.result.check("the conformance suite runs", False, done.tail())
        return
    counts = json.loads(report.read_text())
    world.result.passed += int(counts["passed"])
    world.result.failed += int(counts["failed"])
    world.result.skipped += int(counts.get("skipped", 0))
    world.result.figures.update(counts)
    if counts["failed"] or not done.good:
        world.result.notes.append(done.tail(25))
    print(f"  {counts['passed']} passed, {counts['failed']} failed", flush=True)


def conformance_fleet() -> Document:
    """One small gateway pod for each Gateway: the suite makes many."""
    spec: Document = {
        "targetNamespace": objects.NAMESPACE,
        "trustDomain": "conformance.example",
        "clusters": {"names": ["alpha"]},
        "template": {
            "autoscaling": {"minReplicas": 1, "maxReplicas": 1, "cpuPercent": 70},
            "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
            "drainSeconds": 1,
        },
        "configSources": [{"name": "routes", "gatewayAPI": {"gatewayClassName": CLASS, "namespaces": {}}}],
    }
    metadata = {"name": "conformance", "namespace": objects.NAMESPACE}
    return {"apiVersion": "gatefleet.dev/v1alpha1", "kind": "GatewayFleet", "metadata": metadata, "spec": spec}


def gateway_class() -> Document:
    """The class under test."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": CLASS},
        "spec": {
            "controllerName": "gatefleet.dev/gateway-controller",
            "parametersRef": {
                "group": "gatefleet.dev",
                "kind": "GatewayFleet",
                "namespace": objects.NAMESPACE,
                "name": "conformance",
            },
        },
    }
