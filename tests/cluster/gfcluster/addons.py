# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What every cluster runs besides Kubernetes: DNS, resource metrics, load-balancer addresses."""

from pathlib import Path
from string import Template

from . import plan
from .api import Api
from .plan import Cluster
from .process import run, wait_for
from .tools import kubernetes

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
READY_LIMIT_SECONDS = 120.0


def apply(cluster: Cluster) -> None:
    """Applies all manifests."""
    text = "\n---\n".join(_fill(path, cluster) for path in sorted(MANIFESTS.glob("*.yaml")))
    kubectl = (kubernetes("kubectl"), "--kubeconfig", cluster.kubeconfig)
    run(*kubectl, "apply", "--server-side", "--field-manager=gatefleet-cluster", "-f", "-", stdin=text)


def wait_ready(cluster: Cluster) -> None:
    """Waits until the node takes pods, names resolve and metrics are served."""
    api = Api(cluster)
    checks = {
        "the node to be Ready": lambda: api.has_condition(f"/api/v1/nodes/{cluster.name}", "Ready"),
        "CoreDNS to be available": lambda: _available(api, "coredns"),
        "metrics-server to be available": lambda: _available(api, "metrics-server"),
        "the metrics API to answer": lambda: api.ok(f"/apis/metrics.k8s.io/v1beta1/nodes/{cluster.name}"),
    }
    for what, check in checks.items():
        wait_for(f"{what} ({cluster.name})", check, READY_LIMIT_SECONDS, every=0.2, hint=lambda: _pods(api))


def _available(api: Api, name: str) -> bool:
    return api.has_condition(f"/apis/apps/v1/namespaces/kube-system/deployments/{name}", "Available")


def _pods(api: Api) -> str:
    """What the system's pods wait for, in one line."""
    words = []
    for pod in api.get("/api/v1/namespaces/kube-system/pods").get("items", []):
        states = [next(iter(entry["state"].values())).get("reason", "") for entry in pod["status"].get("containerStatuses", [])]
        words.append(f"{pod['metadata']['name']} {pod['status'].get('phase')} {' '.join(states)}".strip())
    return "; ".join(words) or "no pods yet"


def _fill(path: Path, cluster: Cluster) -> str:
    names = [f"        {plan.BRIDGE_ADDRESS} {plan.REGISTRY_NAME.partition(':')[0]}"]
    names += [f"        {other.node} api.{other.name}.gatefleet.test" for other in plan.first(len(plan.NAMES))]
    return Template(path.read_text()).substitute(dns=cluster.dns, hosts="\n".join(names))
