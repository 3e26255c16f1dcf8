# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What is kept when a scenario fails: objects, events and logs of our pods in every cluster."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

from e2e.kube import Kube
from runner.process import LOGS

FOLDER = LOGS / "e2e"
KINDS = "gatewayfleets,fleetclusters,fleetmembers,fleetrevisions,gateways,httproutes,ingresses,services,deployments,hpa,pods"


def clear() -> None:
    """Forgets what an earlier run kept."""
    shutil.rmtree(FOLDER, ignore_errors=True)


def keep(scenario: str, clusters: list[Kube]) -> Path:
    """Writes what can be had, once for each scenario; a cluster that does not answer is left out."""
    if (FOLDER / scenario).exists():
        return FOLDER / scenario
    for kube in clusters:
        folder = FOLDER / scenario / kube.name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _cluster(kube, folder)
        except Exception as error:  # noqa: BLE001
            (folder / "incomplete.txt").write_text(f"{type(error).__name__}: {error}\n")
    return FOLDER / scenario


def _cluster(kube: Kube, folder: Path) -> None:
    (folder / "pods.txt").write_text(kube.call("get", "pods", "-A", "-o", "wide", limit=20).stdout)
    events = kube.call("get", "events", "-A", "--sort-by=.lastTimestamp", limit=20)
    (folder / "events.txt").write_text(events.stdout)
    (folder / "objects.yaml").write_text(kube.call("get", KINDS, "-A", "-o", "yaml", limit=30).stdout)
    pods = json.loads(kube.call("get", "pods", "-A", "-o", "json", limit=20).stdout or '{"items": []}')["items"]
    for pod in pods:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if namespace == "kube-system":
            continue
        logs = kube.call("logs", "-n", namespace, name, "--all-containers", "--tail=4000", limit=20).stdout
        (folder / f"{namespace}.{name}.log").write_text(logs)
        if any(state.get("restartCount") for state in pod.get("status", {}).get("containerStatuses", [])):
            before = kube.call("logs", "-n", namespace, name, "--all-containers", "--previous", limit=20).stdout
            (folder / f"{namespace}.{name}.previous.log").write_text(before)
