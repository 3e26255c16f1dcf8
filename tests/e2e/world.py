# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What every suite on clusters starts from: clusters up, images pushed, the operator installed by Helm, a fleet declared."""
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from e2e import objects
from e2e.kube import CLUSTER, Kube, wait_for
from runner.process import run as command
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
        command("clusters-down", [CLUSTER, "down"], 180)
        done = command("clusters-up", [CLUSTER, "up", str(count)], 1500)
        return self.result.check(f"{count} clusters start", done.good, done.tail(3))

    def push_images(self) -> bool:
        """Builds and pushes our images."""
        done = command("images", [CLUSTER, "images", str(ROOT / "target" / "debug")], 300)
        for line in done.output.splitlines():
            found = re.search(r"(\S+)/gatefleet/(gatefleet|gateway)(?::\S+?)?@(sha256:[0-9a-f]{64})", line)
            if found:
                self.images[found[2]] = f"{found[1]}/gatefleet/{found[2]}@{found[3]}"
        return self.result.check("images are built and pushed", done.good and len(self.images) == 2, "" if done.good else done.tail(5))

    def install(self, roles: str = "hub") -> bool:
        """Installs the kinds and the operator with Helm, Gateway API's kinds with kubectl."""
        files = sorted(GATEWAY_API.glob("*.yaml"))
        for file in files:
            self.alpha.run("apply", "--server-side", "-f", str(file))
        helm = tool("helm")
        kubeconfig = cluster_kubeconfig("alpha")
        base = [helm, "--kubeconfig", kubeconfig, "upgrade", "--install", "--create-namespace", "--namespace", SYSTEM]
        done = command("helm-crds", [*base, "gatefleet-crds", "charts/gatefleet-crds"], 120)
        if not self.result.check("helm installs gatefleet-crds", done.good, "" if done.good else done.tail()):
            return False
        values = {
            "roles": roles.split(","),
            "image": image_values(self.images["gatefleet"]),
            "gateway": {"image": image_values(self.images["gateway"])},
            "replicas": 2 if roles == "hub" else 1,
        }
        path = ROOT / "target" / "e2e-values.json"
        path.write_text(json.dumps(values))
        line = [*base, "gatefleet", "charts/gatefleet", "--values", str(path), "--wait", "--timeout", "150s"]
        done = command("helm-install", line, 200)
        return self.result.check("helm installs gatefleet", done.good, "" if done.good else done.tail())

    def declare(self, plugin: str = "") -> bool:
        """Registers the clusters, applies backends, routes and the fleet; waits until the fleet is Ready."""
        config = Path(cluster_kubeconfig("beta")).read_text()
        self.alpha.apply(objects.namespace(objects.NAMESPACE))
        for kube in self.members():
            kube.apply(objects.namespace(objects.APPS))
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
        done = self.alpha.call(
            "wait", "--for=condition=Ready", "gatewayfleet/edge", "-n", objects.NAMESPACE, "--timeout=180s", limit=200
        )
        note = "" if done.returncode == 0 else done.stderr.strip() + self.explain()
        return self.result.check("kubectl wait --for=condition=Ready", done.returncode == 0, note)

    def explain(self) -> str:
        """What to look at when a fleet does not come up."""
        fleet = self.alpha.get("gatewayfleet", "edge", objects.NAMESPACE) or {}
        members = self.alpha.call("get", "fleetmembers,fleetclusters", "-n", objects.NAMESPACE, "-o", "wide").stdout
        pods = "".join(k.call("get", "pods", "-A", "-o", "wide").stdout for k in self.members())
        logs = self.alpha.call("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=gatefleet", "--tail=40").stdout
        return f"\n{json.dumps(fleet.get('status', {}), indent=1)}\n{members}\n{pods}\n{logs}"

    def address(self, kube: Kube, service: str = objects.FLEET, namespace: str = objects.NAMESPACE) -> str:
        """The load balancer address of a gateway in a cluster."""

        def find() -> str:
            found = kube.get("service", service, namespace) or {}
            ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress", [])  # type: ignore[attr-defined]
            return ingress[0]["ip"] if ingress else ""

        return str(wait_for(f"an address for service {namespace}/{service} in {kube.name}", find, 60))

    def stop(self) -> None:
        """Ends the clusters; what they leave behind is counted."""
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
