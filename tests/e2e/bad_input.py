# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Bad input on real clusters: a condition with object, field and remedy; the rest goes on and nothing is deleted."""
from __future__ import annotations

import json
import time
from pathlib import Path

from e2e import client, objects
from e2e.kube import Document, Kube, condition, wait_for
from e2e.world import World, cluster_kubeconfig

SECRET = "beta-kubeconfig"


def unknown_cluster(world: World) -> None:
    """A name in the fleet that no FleetCluster has."""
    patch_fleet(world, {"clusters": {"names": ["alpha", "beta", "nowhere"]}})
    try:
        told = fleet_says(world, "Ready", "UnknownCluster")
        names_all(world, "unknown cluster", told, "spec.clusters.names", "nowhere", "create it, or remove")
        goes_on(world, "unknown cluster")
    finally:
        patch_fleet(world, {"clusters": {"names": ["alpha", "beta"]}})
    ready_again(world)


def wrong_credentials(world: World) -> None:
    """A cluster whose credentials are refused, and one whose Secret does not exist."""
    text = without_key(Path(cluster_kubeconfig("beta")).read_text())
    world.alpha.apply(
        objects.kubeconfig_secret("stranger-kubeconfig", text),
        objects.cluster("stranger", {"mode": "Push", "kubeconfigSecret": {"name": "stranger-kubeconfig"}}, {}),
        objects.cluster("nameless", {"mode": "Push", "kubeconfigSecret": {"name": "no-such-secret"}}, {}),
    )
    try:
        told = cluster_says(world, "stranger", "Reachable", "Unauthorized")
        names_all(world, "wrong credentials", told, "Secret", ";")
        told = cluster_says(world, "nameless", "Reachable", "SecretNotFound")
        names_all(world, "missing Secret", told, f"Secret {objects.NAMESPACE}/no-such-secret", "does not exist", ";")
        goes_on(world, "clusters without credentials")
    finally:
        names = ["fleetcluster/stranger", "fleetcluster/nameless", "secret/stranger-kubeconfig"]
        world.alpha.run("delete", *names, "-n", objects.NAMESPACE, "--timeout=30s")


def lost_credentials(world: World) -> None:
    """The key of a member is rotated to one that is refused, then its Secret is deleted, then all is well again."""
    good = Path(cluster_kubeconfig("beta")).read_text()
    before = workloads(world.beta)
    try:
        world.alpha.apply(objects.kubeconfig_secret(SECRET, without_key(good)))
        told = cluster_says(world, "beta", "Reachable", message="the earlier credentials serve on")
        world.result.check("a bad rotation leaves the earlier credentials in use and says so", told["status"] == "True", str(told["message"]))
        goes_on(world, "bad rotation")
        world.alpha.run("delete", "secret", SECRET, "-n", objects.NAMESPACE)
        told = cluster_says(world, "beta", "Reachable", "SecretNotFound")
        names_all(world, "Secret of a member deleted", told, f"Secret {objects.NAMESPACE}/{SECRET}", "does not exist", ";")
        goes_on(world, "Secret of a member deleted")
    finally:
        world.alpha.apply(objects.kubeconfig_secret(SECRET, good))
    ready_again(world)
    after = workloads(world.beta)
    world.result.check("nothing was deleted meanwhile", before == after, f"{sorted(before ^ after)}")


def unreachable_server(world: World) -> None:
    """A FleetCluster whose API server answers nobody."""
    text = at_address(Path(cluster_kubeconfig("beta")).read_text(), "https://172.30.9.9:6443")
    access: Document = {"mode": "Push", "kubeconfigSecret": {"name": "void-kubeconfig"}}
    world.alpha.apply(objects.kubeconfig_secret("void-kubeconfig", text), objects.cluster("void", access, {}))
    try:

        def told() -> object:
            found = condition(world.alpha.get("fleetcluster", "void", objects.NAMESPACE), "Reachable")
            return found if found.get("status") == "False" else None

        found = wait_for("FleetCluster void to be unreachable", told, 60)
        known = found["reason"] in ("TimedOut", "ConnectionFailed")  # type: ignore[index]
        world.result.check("an API server that does not answer is told", known, str(found))
    finally:
        world.alpha.run("delete", "fleetcluster/void", "secret/void-kubeconfig", "-n", objects.NAMESPACE, "--timeout=30s")


def missing_service(world: World) -> None:
    """A route to a Service that does not exist answers 500; its neighbours go on."""
    world.alpha.apply(objects.route_to("lost", "lost.example", "no-such-service"))
    try:

        # Which Services a cluster has is that cluster's own affair: its member tells what is missing there.
        def told_by(name: str) -> object:
            found = condition(world.alpha.get("fleetmember", f"edge-{name}", objects.NAMESPACE), "BackendsFound")
            return found if found.get("status") == "False" else None

        for kube in world.members():
            address = world.address(kube)
            wait_for(f"a 500 for the lost route in {kube.name}", lambda a=address: client.get(a, "lost.example").status == 500, 20)
        world.result.check("a route to a missing Service answers 500", True)
        goes_on(world, "missing Service")
        for kube in world.members():
            told = wait_for(f"member {kube.name} to miss the Service", lambda n=kube.name: told_by(n), 30)
            names_all(world, f"missing Service in {kube.name}", told, "no-such-service", "backendRefs")  # type: ignore[arg-type]
    finally:
        world.alpha.run("delete", "httproute", "lost", "-n", objects.APPS)


def missing_image(world: World) -> None:
    """An image that cannot be pulled: told with its name, old pods serve on, and the way back works."""
    image = world.images["gateway"].split("@")[0] + "@sha256:" + "0" * 64
    patch_fleet(world, {"template": {"image": image}})
    try:

        def told() -> object:
            members = world.alpha.items("fleetmembers", objects.NAMESPACE)
            all_conditions = [c for m in members for c in m.get("status", {}).get("conditions", [])]  # type: ignore[attr-defined]
            return next((c for c in all_conditions if c["reason"] == "ImagePullFailed"), None)

        found = wait_for("a member to say that the image cannot be pulled", told, 60, every=1)
        names_all(world, "image that cannot be pulled", found, image, "image")  # type: ignore[arg-type]
        goes_on(world, "image that cannot be pulled")
    finally:
        patch_fleet(world, {"template": {"image": None}})
    ready_again(world)


def patch_fleet(world: World, spec: Document) -> None:
    """Merges into the fleet's spec."""
    world.alpha.run("patch", "gatewayfleet", objects.FLEET, "-n", objects.NAMESPACE, "--type=merge", "-p", json.dumps({"spec": spec}))


def fleet_says(world: World, kind: str, reason: str) -> Document:
    """Waits for a reason in a condition of the fleet."""
    return _says(world, ("gatewayfleet", objects.FLEET), kind, reason, "")


def cluster_says(world: World, name: str, kind: str, reason: str = "", message: str = "") -> Document:
    """Waits for a reason, or words of the message, in a condition of a FleetCluster."""
    return _says(world, ("fleetcluster", name), kind, reason, message)


def _says(world: World, where: tuple[str, str], kind: str, reason: str, message: str) -> Document:
    def told() -> object:
        found = condition(world.alpha.get(*where, objects.NAMESPACE), kind)
        if found.get("reason") and reason in ("", found["reason"]) and message in str(found["message"]):
            return found
        raise KeyError(f"{kind} is {found.get('status')} {found.get('reason')}: {found.get('message')}")

    return wait_for(f"{' '.join(where)} to say {kind}: {reason or message}", told, 60)  # type: ignore[return-value]


def names_all(world: World, what: str, told: Document, *words: str) -> None:
    """The message names everything that a person needs."""
    message = str(told.get("message", ""))
    missing = [word for word in words if word not in message]
    world.result.check(f"{what}: the condition names object, field and remedy", not missing and bool(message), message)


def goes_on(world: World, what: str) -> None:
    """All clusters answer, and a change of a route arrives where the hub can reach."""
    statuses = {kube.name: client.get(world.address(kube), "my.example.com").status for kube in world.members()}
    world.result.check(f"{what}: all clusters serve on", set(statuses.values()) == {200}, str(statuses))
    mark = f"probe-{time.monotonic_ns()}.example"
    world.alpha.apply(objects.route_to("probe", mark, "my-service"))
    alpha = world.address(world.alpha)
    wait_for(f"a route edit in alpha beside {what}", lambda: client.get(alpha, mark).status == 200, 20, every=0.1)
    world.result.check(f"{what}: the others reconcile on", True)


def ready_again(world: World) -> None:
    """The fleet becomes Ready after the repair."""
    done = world.wait_ready(90)
    world.result.check("the fleet is Ready after the repair", done.returncode == 0, done.stderr.strip())


def workloads(kube: Kube) -> set[str]:
    """Our objects in a cluster, by kind and name."""
    found = kube.items("deployments,services,configmaps,serviceaccounts,hpa,pdb", objects.NAMESPACE, "gatefleet.dev/fleet=edge")
    return {f"{o['kind']}/{o['metadata']['name']}" for o in found}  # type: ignore[index]


def without_key(kubeconfig: str) -> str:
    """The same kubeconfig with a token that nobody knows instead of its key."""
    config = json.loads(kubeconfig)
    for entry in config["users"]:
        entry["user"] = {"token": "nobody-knows-it"}
    return json.dumps(config)


def at_address(kubeconfig: str, server: str) -> str:
    """The same kubeconfig for another address."""
    config = json.loads(kubeconfig)
    for entry in config["clusters"]:
        entry["cluster"]["server"] = server
    return json.dumps(config)
