# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Starts and ends clusters as a whole."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import addons, images, network, pki, plan, registry, tools
from .cgroups import Cgroup
from .control_plane import ControlPlane
from .node import Node
from .plan import Cluster
from .process import HarnessError, run

LOCK = Path("/run/gatefleet.lock")
KILL_LIMIT_SECONDS = 15.0


def up(count: int, say: Callable[[str], None], keep: bool = False) -> float:
    """Brings up the first `count` clusters and the registry; returns the seconds it took once all was built.

    When one fails, those that this call started are ended again, unless `keep`.
    """
    wanted = plan.first(count)
    if os.geteuid() != 0:
        raise HarnessError("clusters need network namespaces: run as root")
    tools.link_servers()
    archives = images.archives() if wanted else []
    with _lock():
        _own()
        for cluster in plan.existing():
            _must_be_whole(cluster)
        started = time.monotonic()
        missing = [cluster for cluster in wanted if not cluster.runtime.exists()]
        try:
            network.bridge_up()
            registry.up()
            with ThreadPoolExecutor(max(1, len(missing))) as pool:
                list(pool.map(lambda cluster: _up(cluster, archives, say), missing))
        except BaseException:
            if not keep:
                _give_up(missing, say)
            raise
        _describe(plan.existing())
        return time.monotonic() - started


def down(say: Callable[[str], None]) -> None:
    """Ends everything that `up` started; logs stay."""
    if not plan.RUNTIME.exists():
        return
    with _lock():
        _own()
        _end(plan.existing(), say)


def _end(clusters: list[Cluster], say: Callable[[str], None]) -> None:
    for cluster in clusters:
        _down(cluster)
        say(f"{cluster.name} is down")
    if plan.existing():
        return
    registry.down()
    network.bridge_down()
    shutil.rmtree(plan.RUNTIME)
    (plan.STATE / "clusters.json").unlink(missing_ok=True)


def _give_up(started: list[Cluster], say: Callable[[str], None]) -> None:
    """Nothing half-started stays, but what it said does."""
    begun = [cluster for cluster in started if cluster.runtime.exists()]
    for cluster in begun:
        if cluster.kubeconfig.exists():
            _keep_evidence(cluster)
    _end(begun, say)
    say(f"logs are kept in {plan.LOGS}")


def _keep_evidence(cluster: Cluster) -> None:
    """Writes down what the cluster's objects and pods said, for the reader of the failure."""
    kubectl = (tools.kubernetes("kubectl"), "--kubeconfig", cluster.kubeconfig, "--request-timeout=5s")
    cluster.logs.mkdir(parents=True, exist_ok=True)
    with (cluster.logs / "objects.txt").open("w") as out:
        for words in (("get", "nodes,pods,services", "-A", "-o", "wide"), ("get", "events", "-A"), ("describe", "pods", "-A")):
            try:
                out.write(run(*kubectl, *words, limit=20) + "\n")
            except HarnessError as error:
                out.write(f"{error}\n")
    if (cluster.home / "pod-logs").exists():
        shutil.copytree(cluster.home / "pod-logs", cluster.logs / "pods", dirs_exist_ok=True)


def _up(cluster: Cluster, archives: list[Path], say: Callable[[str], None]) -> None:
    started = time.monotonic()
    shutil.rmtree(cluster.home, ignore_errors=True)
    shutil.rmtree(cluster.logs, ignore_errors=True)
    for directory in (cluster.home, cluster.logs, cluster.runtime):
        directory.mkdir(parents=True)
    network.cluster_up(cluster)
    Cgroup(cluster.scope).create()
    pki.create(cluster)
    control, node = ControlPlane(cluster), Node(cluster)
    with ThreadPoolExecutor(2) as pool:
        # Unpacking images takes as long as the API server takes to start.
        prepared = pool.submit(_prepare_node, node, archives)
        control.start_api()
        control.start_controllers()
        addons.apply(cluster)
        prepared.result()
    node.start_kubelet()
    addons.wait_ready(cluster)
    say(f"{cluster.name} is ready after {time.monotonic() - started:.1f} s: {cluster.kubeconfig}")


def _prepare_node(node: Node, archives: list[Path]) -> None:
    node.start_containerd()
    for archive in archives:
        node.load_image(archive)


def _down(cluster: Cluster) -> None:
    group = Cgroup(cluster.scope)
    if not group.kill(KILL_LIMIT_SECONDS):
        raise HarnessError(f"processes {sorted(group.pids())} of {cluster.name} did not end within {KILL_LIMIT_SECONDS:.0f} s")
    if not group.remove(KILL_LIMIT_SECONDS):
        raise HarnessError(f"cgroups of {cluster.name} are still busy: {', '.join(map(str, group.directories()))}")
    network.cluster_down(cluster)
    shutil.rmtree(cluster.home, ignore_errors=True)
    shutil.rmtree(cluster.runtime)


def _must_be_whole(cluster: Cluster) -> None:
    dead = [server.name for server in [*ControlPlane(cluster).servers(), *Node(cluster).servers()] if not server.alive()]
    if dead:
        raise HarnessError(f"{cluster.name} runs without {', '.join(dead)}: `cluster down` first, or `cluster start-api {cluster.name}`")


def _describe(clusters: list[Cluster]) -> None:
    """Writes what a test needs to know about the clusters."""
    document = [
        {
            "name": cluster.name,
            "kubeconfig": str(cluster.kubeconfig),
            "api": cluster.api_url,
            "node": cluster.node,
            "namespace": cluster.scope,
            "pods": cluster.pods,
            "services": cluster.services,
            "loadBalancers": cluster.load_balancers,
            "dns": cluster.dns,
        }
        for cluster in clusters
    ]
    registry_names = {"address": plan.REGISTRY, "name": plan.REGISTRY_NAME}
    (plan.STATE / "clusters.json").write_text(json.dumps({"clusters": document, "registry": registry_names}, indent=2) + "\n")


def _own() -> None:
    """One work tree at a time: names and addresses belong to the machine."""
    plan.RUNTIME.mkdir(exist_ok=True)
    if plan.OWNER.exists():
        owner = plan.OWNER.read_text().strip()
        if owner != str(plan.REPOSITORY):
            raise HarnessError(f"the clusters of {owner} are up: run its `tests/cluster/cluster down` first")
    plan.OWNER.write_text(f"{plan.REPOSITORY}\n")


@contextmanager
def _lock() -> Iterator[None]:
    with LOCK.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HarnessError("another `cluster up` or `down` is at work") from error
        yield
