# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The objects that the checks put into a cluster, and kubectl."""

import json
import subprocess
import tempfile
from pathlib import Path

from gfcluster.plan import Cluster
from gfcluster.process import run, wait_for
from gfcluster.tools import kubernetes

NAMESPACE = "selftest"
HTTPBIN = "docker.io/mccutchen/go-httpbin:2.26.0"
ROLLOUT_LIMIT_SECONDS = 60


def kubectl(cluster: Cluster, *words: str, stdin: str | None = None, limit: float = 60) -> str:
    """Runs kubectl and returns what it printed."""
    return run(kubernetes("kubectl"), f"--kubeconfig={cluster.kubeconfig}", *words, stdin=stdin, limit=limit)


def apply(cluster: Cluster, *documents: dict[str, object]) -> None:
    """Applies objects to the checks' namespace."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    kubectl(cluster, "--namespace", NAMESPACE, "apply", "-f", "-", stdin=text)


def rolled_out(cluster: Cluster, name: str) -> None:
    """Waits for a Deployment's pods."""
    limit = f"--timeout={ROLLOUT_LIMIT_SECONDS}s"
    kubectl(cluster, "--namespace", NAMESPACE, "rollout", "status", f"deployment/{name}", limit, limit=ROLLOUT_LIMIT_SECONDS + 5)


def deployment(name: str, image: str, arguments: list[str] | None = None, pull: str = "IfNotPresent") -> dict[str, object]:
    """A Deployment of one pod that asks for a tenth of a core."""
    container: dict[str, object] = {
        "name": name,
        "image": image,
        "imagePullPolicy": pull,
        "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}},
    }
    if arguments:
        container["args"] = arguments
    labels = {"app": name}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def service(name: str, app: str = "httpbin", kind: str = "LoadBalancer", address: str = "") -> dict[str, object]:
    """A Service on port 80 for httpbin's 8080."""
    spec: dict[str, object] = {"type": kind, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]}
    if address:
        spec["loadBalancerIP"] = address
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def field(cluster: Cluster, kind: str, name: str, path: str) -> str:
    """One field of an object; empty when it is absent."""
    return kubectl(cluster, "--namespace", NAMESPACE, "get", kind, name, "-o", f"jsonpath={path}")


def address(cluster: Cluster, name: str) -> str:
    """The load-balancer address of a Service, once it has one."""
    path = "{.status.loadBalancer.ingress[0].ip}"
    wait_for(f"an address for Service {name}", lambda: field(cluster, "service", name, path) != "", 15)
    return field(cluster, "service", name, path)


def fetch(url: str, limit: float = 10) -> str:
    """Fetches a URL from this machine."""
    return run("curl", "-sS", "--fail", "--max-time", str(limit), url, limit=limit + 5)


def fetch_from_pod(cluster: Cluster, *words_of_curl: str) -> str:
    """Fetches a URL from the client pod of a cluster."""
    words = ("exec", "deployment/client", "--", "/usr/local/bin/curl", "-sS", "--fail", "--max-time", "10", *words_of_curl)
    return kubectl(cluster, "--namespace", NAMESPACE, *words)


def sleeper() -> Path:
    """A dynamic program that does nothing, made of the machine's own libc: keeps the client pod alive."""
    directory = Path(tempfile.mkdtemp(prefix="gatefleet-selftest-"))
    source = directory / "sleeper.c"
    source.write_text("#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
    subprocess.run(["gcc", "-o", directory / "sleeper", source], check=True, timeout=60)
    return directory / "sleeper"
