# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What every suite on clusters starts from: clusters up, images pushed, the operator installed by Helm, a fleet declared."""
from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from e2e import evidence, objects
from e2e.kube import CLUSTER, Kube, wait_for
from runner.process import Done, run as command
from runner.report import ROOT, Result

GATEWAY_API = ROOT / "crds" / "gateway-api"
SYSTEM = "gatefleet-system"


class World:
    """Two clusters: alpha holds the hub and is a member; beta is a member."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.alpha = Kube("alpha")
        self.beta = Kube("beta")
        self.images: dict[str, str] = {}

    def members(self) -> list[Kube]:
        """The clusters of the fleet."""
        return [self.alpha, self.beta]

    def start(self, count: int = 2) -> bool:
        """Starts the clusters afresh."""
        evidence.clear()
        command("clusters-down", [CLUSTER, "down"], 180)
        done = command("clusters-up", [CLUSTER, "up", str(count)], 1500)
        return self.result.check(f"{count} clusters start", done.good, done.tail(3))

    def push_images(self) -> bool:
        """Builds and pushes our images; their references by digest stand in target/clusters/images.json."""
        done = command("images", [CLUSTER, "images", str(ROOT / "target" / "debug")], 300)
        if done.good:
            self.images = json.loads((ROOT / "target" / "clusters" / "images.json").read_text())
        return self.result.check("images are built and pushed", len(self.images) == 2, "" if done.good else done.tail(5))

    def install(self, roles: str = "hub") -> bool:
        """Installs the kinds and the operator with Helm, Gateway API's kinds with kubectl."""
        for file in sorted(GATEWAY_API.glob("*.yaml")):
            self.alpha.run("apply", "--server-side", "-f", str(file))
        self.alpha.apply(objects.namespace(SYSTEM))
        done = self.helm("helm-crds", "upgrade", "--install", "gatefleet-crds", "charts/gatefleet-crds")
        if not self.result.check("helm installs gatefleet-crds", done.good, "" if done.good else done.tail()):
            return False
        values = {
            "roles": roles.split(","),
            "image": image_values(self.images["gatefleet"]),
            "gateway": {"image": image_values(self.images["gateway"])},
            "plainHttpRegistries": [self.registry()],
            # The Ingress of the suites names no class, as in every introduction.
            "ingressClass": {"default": True},
            "replicas": 2 if roles == "hub" else 1,
        }
        path = ROOT / "target" / "e2e-values.json"
        path.write_text(json.dumps(values))
        line = ["upgrade", "--install", "gatefleet", "charts/gatefleet", "--values", str(path), "--wait", "--timeout", "150s"]
        done = self.helm("helm-install", *line)
        return self.result.check("helm installs gatefleet", done.good, "" if done.good else done.tail() + self.explain())

    def helm(self, name: str, *arguments: str) -> Done:
        """Runs Helm on the hub's cluster."""
        return command(name, [tool("helm"), "--kubeconfig", cluster_kubeconfig("alpha"), "--namespace", SYSTEM, *arguments], 200)

    def registry(self) -> str:
        """The registry as the clusters name it."""
        return self.images["gatefleet"].split("/")[0]

    def declare(self, plugin: str = "") -> bool:
        """Registers the clusters, applies backends, routes and the fleet; waits until the fleet is Ready."""
        config = Path(cluster_kubeconfig("beta")).read_text()
        for kube in self.members():
            kube.apply(objects.namespace(objects.NAMESPACE), objects.namespace(objects.APPS))
            for name in ("shop-v1", "shop-v2", "my-service"):
                kube.apply(*objects.backend(name, self.images["gatefleet"], kube.name))
        self.alpha.apply(objects.kubeconfig_secret("beta-kubeconfig", config))
        self.alpha.apply(
            objects.cluster("alpha", {"mode": "Push", "local": True}, {"tier": "canary"}),
            objects.cluster("beta", {"mode": "Push", "kubeconfigSecret": {"name": "beta-kubeconfig"}}, {"tier": "rest"}),
            objects.fleet(["alpha", "beta"], plugin),
            objects.route(9, 1),
            objects.simple_ingress(),
        )
        began = time.monotonic()
        done = self.wait_ready(180)
        took = f"{time.monotonic() - began:.1f} s from the fleet to Ready"
        good = done.returncode == 0
        return self.result.check("kubectl wait --for=condition=Ready", good, took if good else done.stderr.strip() + self.explain())

    def wait_ready(self, limit: int) -> subprocess.CompletedProcess[str]:
        """`kubectl wait` for the fleet."""
        line = ["wait", "--for=condition=Ready", f"gatewayfleet/{objects.FLEET}", "-n", objects.NAMESPACE, f"--timeout={limit}s"]
        return self.alpha.call(*line, limit=limit + 10)

    def explain(self) -> str:
        """The fleet's own words, and where the rest is kept."""
        fleet = self.alpha.get("gatewayfleet", objects.FLEET, objects.NAMESPACE) or {}
        conditions = fleet.get("status", {}).get("conditions", [])  # type: ignore[attr-defined]
        words = [f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions]
        return "\n    " + "\n    ".join([*words, f"kept: {evidence.keep('start', self.members())}"])

    def address(self, kube: Kube, service: str = objects.FLEET, namespace: str = objects.NAMESPACE) -> str:
        """The load balancer address of a gateway in a cluster."""

        def find() -> str:
            found = kube.get("service", service, namespace) or {}
            ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress", [])  # type: ignore[attr-defined]
            return ingress[0]["ip"] if ingress else ""

        return str(wait_for(f"an address for service {namespace}/{service} in {kube.name}", find, 60))

    def stop(self) -> None:
        """Ends the clusters; what they leave behind is counted. GATEFLEET_KEEP_CLUSTERS=1 leaves them, to look inside."""
        if os.environ.get("GATEFLEET_KEEP_CLUSTERS"):
            self.result.skip("clusters end", "GATEFLEET_KEEP_CLUSTERS is set")
            return
        done = command("clusters-down", [CLUSTER, "down"], 180)
        self.result.check("clusters end and leave nothing", done.good, "" if done.good else done.tail())


def tool(name: str) -> str:
    """Path of a test tool, built when it is missing."""
    done = subprocess.run([ROOT / "tests" / "setup" / "tool", name], capture_output=True, text=True, timeout=2400, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"tests/setup/tool {name}: {done.stderr[-800:]}")
    return done.stdout.strip().splitlines()[-1]


def cluster_kubeconfig(name: str) -> str:
    """Path of a cluster's kubeconfig."""
    return subprocess.run([CLUSTER, "kubeconfig", name], capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def image_values(reference: str) -> dict[str, str]:
    """A reference with digest as the charts take it."""
    repository, digest = reference.split("@")
    return {"repository": repository, "digest": digest}


def as_root() -> bool:
    """Whether real clusters can be started here at all."""
    return os.geteuid() == 0
