# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole way on two real clusters: install, declare, answer, edit, scale, survive, remove."""
from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Callable

from e2e import bad_input, client, evidence, kinds, objects
from e2e.kube import Kube, WaitError, condition, on_timeout, wait_for
from e2e.world import CLUSTER, SYSTEM, World
from runner.report import Result

FLEET_LABEL = f"gatefleet.dev/fleet={objects.FLEET}"
OWNED = "deployments,services,configmaps,serviceaccounts,secrets,hpa,pdb,roles,rolebindings,leases,fleetmembers,pods"
Scenario = Callable[[World], None]
ERRORS = (WaitError, RuntimeError, OSError, LookupError, StopIteration, ValueError, http.client.HTTPException, subprocess.SubprocessError)


def run() -> Result:
    """Brings the world up once and walks through every scenario; what one breaks does not stop the others."""
    result = Result()
    world = World(result)
    try:
        if world.start() and world.push_images() and world.install():
            attempt(kinds.kinds, world)
            if world.declare(publish_plugin(world)):
                for scenario in wanted():
                    attempt(scenario, world)
    finally:
        world.stop()
    return result


def wanted() -> list[Scenario]:
    """All scenarios, or those that ONLY=a,b names."""
    names = [name for name in os.environ.get("ONLY", "").split(",") if name]
    return [scenario for scenario in SCENARIOS if not names or scenario.__name__ in names]


def attempt(scenario: Scenario, world: World) -> None:
    """Runs one scenario, and once more where it failed: machines are shared. A second try that was needed is told."""
    name, began = scenario.__name__, time.monotonic()
    print(f" - {name}", flush=True)
    result = world.result
    before = (result.passed, result.failed, list(result.notes))
    failed = tried(scenario, world)
    if failed:
        first = result.notes[len(before[2]) :]
        result.passed, result.failed, result.notes = before[0], before[1], before[2]
        print(f" - {name}, second try", flush=True)
        if not tried(scenario, world):
            result.notes.append(f"{name} passed on its second try; the first said: {'; '.join(first)[:400]}")
    world.result.figures[f"{name}_seconds"] = round(time.monotonic() - began, 1)


def tried(scenario: Scenario, world: World) -> bool:
    """Whether one run of a scenario failed. An error in it is one failed check that tells what happened; the clusters'
    state is kept."""
    name, failed = scenario.__name__, world.result.failed
    # A wait that ran out is looked at before the scenario puts things right again.
    on_timeout(lambda: evidence.keep(name, world.members()))
    try:
        scenario(world)
    except ERRORS as error:
        world.result.check(name, False, f"{type(error).__name__}: {error}")
    finally:
        on_timeout(None)
    if world.result.failed > failed:
        print(f"   kept: {evidence.keep(name, world.members())}", flush=True)
        return True
    return False


def publish_plugin(world: World) -> str:
    """Pushes the test plugin as an OCI artifact and names it by digest; empty where that is impossible."""
    from e2e import plugin

    return plugin.publish(world)


def answers(world: World) -> None:
    """Requests through each cluster's load balancer address."""
    for kube in world.members():
        address = world.address(kube)
        ingress = wait_for(
            f"an answer of {kube.name} for the Ingress", lambda a=address: ok(client.get(a, "my.example.com")), 60
        )
        backend = str(ingress.json()["backend"])  # type: ignore[attr-defined]
        world.result.check(f"{kube.name}: Ingress my.example.com answers", backend == f"my-service/{kube.name}", backend)
        share = split(address, 300)
        world.result.check(f"{kube.name}: weights 9:1 hold", 0.82 <= share <= 0.97, f"{share:.2f} to shop-v1")
        missing = client.get(address, "nobody.example").status
        world.result.check(f"{kube.name}: an unknown host is 404", missing == 404, str(missing))


def edits(world: World) -> None:
    """A route edit is seen by both clusters."""
    world.alpha.apply(objects.route(0, 1))
    for kube in world.members():
        address = world.address(kube)
        began = time.monotonic()
        wait_for(f"the edit in {kube.name}", lambda a=address: split(a, 20) == 0.0, 20, every=0.1)
        world.result.check(f"{kube.name}: a route edit arrives", True, f"{time.monotonic() - began:.2f} s")
    world.alpha.apply(objects.route(1, 1))
    parents = (world.alpha.get("httproute", "shop", objects.APPS) or {}).get("status", {}).get("parents", [])  # type: ignore[attr-defined]
    accepted = [c for p in parents for c in p["conditions"] if c["type"] == "Accepted" and c["status"] == "True"]
    world.result.check("the HTTPRoute is Accepted", bool(accepted), "" if accepted else str(parents))


def plugin_acts(world: World) -> None:
    """The plugin's header reaches the backend."""
    for kube in world.members():
        address = world.address(kube)

        def stamped(a: str = address) -> bool:
            return client.get(a, "shop.example").json()["headers"].get("x-gatefleet-plugin") == "stamped"  # type: ignore[attr-defined]

        wait_for(f"the plugin's header in {kube.name}", stamped, 30)
        world.result.check(f"{kube.name}: the plugin sets its header", True)


def scales(world: World) -> None:
    """Load makes the HPA scale out from its minimum, and later in."""
    address = world.address(world.alpha)
    before = replicas(world.alpha)
    line = ["wrk", "-t1", "-c32", "-d150s", "-H", "Host: my.example.com", f"http://{address}/"]
    load = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("the HPA to scale out", lambda: replicas(world.alpha) > before, 140, every=2)
    finally:
        load.kill()
        load.wait()
    top = replicas(world.alpha)
    world.result.check("the HPA scales out under load", top > before, f"{before} -> {top}")
    wait_for("the HPA to scale in", lambda: replicas(world.alpha) == before, 180, every=3)
    world.result.check("the HPA scales in afterwards", True, f"{top} -> {before}")


def hub_dies(world: World) -> None:
    """The hub is gone for two minutes during load; no request fails, and endpoints follow their pods without it."""
    address = world.address(world.beta)
    with client.Load(address, "my.example.com", limit=240) as load:
        world.alpha.run("scale", "deployment/gatefleet", "-n", SYSTEM, "--replicas=0")
        world.alpha.run("delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=gatefleet", "--grace-period=0", "--force")
        gone = time.monotonic()
        # A new pod behind the Service must be used without a hub: endpoints are the relay's business.
        world.beta.run("scale", "deployment/my-service", "-n", objects.APPS, "--replicas=2")
        world.beta.run("rollout", "status", "deployment/my-service", "-n", objects.APPS, "--timeout=60s", limit=70)
        old = str(world.beta.items("pods", objects.APPS, "app=my-service")[0]["metadata"]["name"])  # type: ignore[index]
        time.sleep(5)
        world.beta.run("delete", "pod", old, "-n", objects.APPS, "--wait=false")
        time.sleep(max(0.0, 120 - (time.monotonic() - gone)))
    world.result.check("hub gone for 120 s: no request fails", load.sent > 5000 and not load.failures, load.summary())
    world.beta.run("scale", "deployment/my-service", "-n", objects.APPS, "--replicas=1")
    world.alpha.run("scale", "deployment/gatefleet", "-n", SYSTEM, "--replicas=2")
    world.alpha.run("rollout", "status", "deployment/gatefleet", "-n", SYSTEM, "--timeout=90s", limit=100)


def pod_is_replaced(world: World) -> None:
    """A gateway pod is deleted during load; no request fails."""
    address = world.address(world.beta)
    pods = gateway_pods(world.beta)
    with client.Load(address, "my.example.com", limit=120) as load:
        time.sleep(2)
        world.beta.run("delete", "pod", pods[0], "-n", objects.NAMESPACE, "--wait=true", limit=90)
        wait_for("the pod's replacement", lambda: len(ready_pods(world.beta)) >= len(pods), 60)
        time.sleep(3)
    world.result.check("a gateway pod is replaced: no request fails", load.sent > 500 and not load.failures, load.summary())


def api_stops(world: World) -> None:
    """One cluster's API server stops: it is Unreachable, keeps serving, and the other reconciles on."""
    address = world.address(world.beta)
    before = workload(world.beta)
    subprocess.run([CLUSTER, "stop-api", "beta"], check=True, timeout=60)
    try:

        def unreachable() -> bool:
            member = world.alpha.get("fleetcluster", "beta", objects.NAMESPACE)
            return condition(member, "Reachable").get("status") in ("False", "Unknown")

        began = time.monotonic()
        wait_for("FleetCluster beta to be unreachable", unreachable, 90, every=1)
        world.result.check("the stopped cluster is reported unreachable", True, f"after {time.monotonic() - began:.0f} s")
        world.alpha.apply(objects.route(1, 0))
        alpha = world.address(world.alpha)
        wait_for("the other cluster to reconcile on", lambda: split(alpha, 20) == 1.0, 30)
        world.result.check("the other cluster reconciles on", True)
        world.result.check("the stopped cluster serves on", client.get(address, "my.example.com").status == 200)
    finally:
        subprocess.run([CLUSTER, "start-api", "beta"], check=True, timeout=90)
    wait_for("beta to catch up", lambda: split(address, 20) == 1.0, 120, every=1)
    after = workload(world.beta)
    world.result.check("back again, it catches up and nothing was removed", after == before, "" if after == before else f"{before} became {after}")
    wait_for("all gateways of beta", lambda: len(ready_pods(world.beta)) >= 2, 60)


def removal(world: World) -> None:
    """Deleting the fleet leaves no object in any cluster."""
    world.alpha.run("delete", "gatewayfleet", "edge", "-n", objects.NAMESPACE, "--timeout=120s", limit=150)
    for kube in world.members():

        def left(k: Kube = kube) -> list[str]:
            # Revisions are the hub's; members know only what they are pinned to.
            owned = f"{OWNED},fleetrevisions" if k.name == "alpha" else OWNED
            found = k.items(owned, objects.NAMESPACE, FLEET_LABEL) + k.items("clusterroles,clusterrolebindings", "", FLEET_LABEL)
            return [f"{o['kind']}/{o['metadata']['name']}" for o in found]  # type: ignore[index]

        wait_for(f"{kube.name} to be empty", lambda: not left(), 90)
        world.result.check(f"{kube.name}: deleting the fleet leaves no object", True)


SCENARIOS: list[Scenario] = [
    answers,
    edits,
    plugin_acts,
    bad_input.unknown_cluster,
    bad_input.missing_service,
    bad_input.wrong_credentials,
    bad_input.lost_credentials,
    bad_input.unreachable_server,
    bad_input.missing_image,
    scales,
    hub_dies,
    pod_is_replaced,
    api_stops,
    removal,
]


def ok(answer: client.Answer) -> client.Answer | None:
    """The answer where it is a 200."""
    return answer if answer.status == 200 else None


def split(address: str, count: int) -> float:
    """The share of requests that shop-v1 answers."""
    names = [str(client.get(address, "shop.example").json()["backend"]) for _ in range(count)]
    return sum(name.startswith("shop-v1/") for name in names) / count


def replicas(kube: Kube) -> int:
    """Ready gateway replicas."""
    found = kube.get("deployment", objects.FLEET, objects.NAMESPACE) or {}
    return int(found.get("status", {}).get("readyReplicas", 0))  # type: ignore[attr-defined]


def workload(kube: Kube) -> dict[str, str]:
    """The objects of the gateway with their uids: one that was removed and made again has another."""
    kinds = "deployments,services,horizontalpodautoscalers,poddisruptionbudgets,serviceaccounts,secrets,configmaps"
    found = kube.items(kinds, objects.NAMESPACE, FLEET_LABEL)
    # Bodies of configurations come and go with the routes.
    stays = [o for o in found if o.get("type") != "gatefleet.dev/revision"]
    return {f"{o['kind']}/{o['metadata']['name']}": str(o["metadata"]["uid"]) for o in stays}  # type: ignore[index]


def gateway_pods(kube: Kube) -> list[str]:
    """Names of the gateway's pods."""
    return [str(p["metadata"]["name"]) for p in pods_of(kube)]  # type: ignore[index]


def ready_pods(kube: Kube) -> list[str]:
    """Names of those that are Ready and stay."""
    stay = [p for p in pods_of(kube) if "deletionTimestamp" not in p["metadata"]]  # type: ignore[operator]
    return [str(p["metadata"]["name"]) for p in stay if condition(p, "Ready").get("status") == "True"]  # type: ignore[index]


def pods_of(kube: Kube) -> list[dict[str, object]]:
    """The gateway's pods, found by the Deployment's own selector."""
    deployment = kube.get("deployment", objects.FLEET, objects.NAMESPACE) or {}
    labels = deployment["spec"]["selector"]["matchLabels"]  # type: ignore[index]
    return kube.items("pods", objects.NAMESPACE, ",".join(f"{k}={v}" for k, v in labels.items()))
