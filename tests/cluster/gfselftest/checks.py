# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The checks on two running clusters, in the order in which they build on each other."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from gfcluster import network, oci, plan, push, rootfs
from gfcluster.api import Api
from gfcluster.control_plane import ControlPlane
from gfcluster.plan import Cluster
from gfcluster.process import HarnessError, run, succeeds, wait_for

from . import fixtures
from .fixtures import HTTPBIN, NAMESPACE, address, apply, deployment, fetch, fetch_from_pod, field, kubectl, rolled_out, service

ALPHA, BETA = plan.first(2)


def nodes_run_the_pinned_release() -> None:
    for cluster in (ALPHA, BETA):
        node = Api(cluster).get(f"/api/v1/nodes/{cluster.name}")
        _same(node["status"]["nodeInfo"]["kubeletVersion"], "v1.36.3")
        _same(Api(cluster).get("/version")["gitVersion"], "v1.36.3")


def images_are_the_same_bytes_twice() -> None:
    _same(_client_image().manifest.digest, _client_image().manifest.digest)


def pods_pull_from_the_registry_by_name_and_by_digest() -> None:
    reference = push.push(_client_image(), f"{plan.REGISTRY_NAME}/selftest/client:1")
    for cluster, image in ((ALPHA, reference), (BETA, f"{plan.REGISTRY}/selftest/client:1")):
        kubectl(cluster, "create", "namespace", NAMESPACE)
        apply(cluster, deployment("client", image, pull="Always"), deployment("httpbin", HTTPBIN), service("httpbin"))
    for cluster in (ALPHA, BETA):
        rolled_out(cluster, "client")
        rolled_out(cluster, "httpbin")


def pods_find_services_by_name() -> None:
    for cluster in (ALPHA, BETA):
        body = fetch_from_pod(cluster, "http://httpbin.selftest.svc.cluster.local/get")
        _same(json.loads(body)["headers"]["Host"][0], "httpbin.selftest.svc.cluster.local")


def pods_reach_the_registry_by_name() -> None:
    fetch_from_pod(ALPHA, f"http://{plan.REGISTRY_NAME}/v2/")


def pod_logs_come_through_the_api() -> None:
    wait_for("httpbin's log", lambda: "GET" in kubectl(ALPHA, "-n", NAMESPACE, "logs", "deployment/httpbin"), 10)


def load_balancers_answer_everywhere() -> None:
    for cluster, other in ((ALPHA, BETA), (BETA, ALPHA)):
        url = f"http://{address(cluster, 'httpbin')}/get"
        fetch(url)
        fetch_from_pod(cluster, url)
        fetch_from_pod(other, url)


def pods_and_services_of_one_cluster_are_reached_from_the_other() -> None:
    pod = field(BETA, "pods", "--selector=app=httpbin", "{.items[0].status.podIP}")
    fetch_from_pod(ALPHA, f"http://{pod}:8080/get")
    fetch_from_pod(ALPHA, f"http://{field(BETA, 'service', 'httpbin', '{.spec.clusterIP}')}/get")
    fetch(f"http://{pod}:8080/get")


def pods_reach_the_api_server_of_the_other_cluster() -> None:
    for address_or_name in (BETA.node, "api.beta.gatefleet.test"):
        fetch_from_pod(ALPHA, "--insecure", f"https://{address_or_name}:6443/readyz")


def a_cut_cluster_is_silent_until_it_is_healed() -> None:
    url, alive = f"http://{address(BETA, 'httpbin')}/get", ("curl", "-sS", "--fail", "--max-time", "2")
    network.cut(BETA)
    try:
        if succeeds(*alive, url) or Api(BETA).ok("/readyz"):
            raise HarnessError("beta answers although it is cut off")
        # Inside, it goes on as if nothing had happened.
        run("nsenter", f"--net={BETA.namespace}", "--", *alive, url)
    finally:
        network.heal(BETA)
    fetch(url)
    fetch_from_pod(ALPHA, url)


def an_address_that_nobody_serves_is_refused_at_once() -> None:
    unserved = ALPHA.load_balancers.replace("0/24", "254")
    started = time.monotonic()
    if succeeds("curl", "-sS", "--max-time", "5", f"http://{unserved}/"):
        raise HarnessError(f"{unserved} answered")
    if time.monotonic() - started > 2:
        raise HarnessError(f"{unserved} was not refused but timed out")


def asked_addresses_are_given_once_and_come_back() -> None:
    # Addresses that nobody asked for follow from names: take one that is not httpbin's.
    wanted = next(text for text in map(ALPHA.load_balancers.replace, ["0/24"] * 2, ["77", "78"]) if text != address(ALPHA, "httpbin"))
    apply(ALPHA, service("asked", address=wanted))
    _same(address(ALPHA, "asked"), wanted)
    fetch(f"http://{wanted}/get")
    apply(ALPHA, service("second", address=wanted))
    path = "{.status.loadBalancer.ingress[0].ip}"
    time.sleep(1)
    _same(field(ALPHA, "service", "second", path), "")
    kubectl(ALPHA, "-n", NAMESPACE, "delete", "service", "asked")
    _same(address(ALPHA, "second"), wanted)
    kubectl(ALPHA, "-n", NAMESPACE, "patch", "service", "second", "-p", '{"spec":{"type":"ClusterIP","loadBalancerIP":null}}')
    wait_for("the address to come back", lambda: field(ALPHA, "service", "second", path) == "", 10)


def addresses_survive_a_restart_of_their_controller() -> None:
    before = address(ALPHA, "httpbin")
    control = ControlPlane(ALPHA)
    balancer = next(server for server in control.controllers if server.name == "load-balancer")
    balancer.kill()
    apply(ALPHA, service("while-down"))
    control.start_controllers()
    after = {address(ALPHA, "httpbin"), address(ALPHA, "while-down")}
    _same(before in after and len(after) == 2, True)
    kubectl(ALPHA, "-n", NAMESPACE, "delete", "service", "while-down")


def metrics_are_served() -> None:
    for cluster in (ALPHA, BETA):
        kubectl(cluster, "top", "nodes")
        _pods_have_metrics(cluster)


def an_autoscaler_scales_out_under_load() -> None:
    kubectl(BETA, "-n", NAMESPACE, "autoscale", "deployment", "httpbin", "--min=1", "--max=3", "--cpu=50%")
    load = subprocess.Popen(
        ["wrk", "-t1", "-c8", "-d120", f"http://{address(BETA, 'httpbin')}/get"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for("a second pod", lambda: int(field(BETA, "deployment", "httpbin", "{.status.readyReplicas}") or 0) > 1, 110, every=1)
    finally:
        load.kill()
        load.wait(10)


def traffic_goes_on_without_the_api_server() -> None:
    control, url = ControlPlane(ALPHA), f"http://{address(ALPHA, 'httpbin')}/get"
    control.stop_api()
    if Api(ALPHA).ok("/readyz"):
        raise HarnessError("the API server still answers")
    fetch(url)
    control.start_api()
    fetch(url)


def a_restarted_api_server_has_its_objects_and_works() -> None:
    rolled_out(ALPHA, "httpbin")
    apply(ALPHA, deployment("late", HTTPBIN))
    rolled_out(ALPHA, "late")


IN_ORDER = (
    nodes_run_the_pinned_release,
    images_are_the_same_bytes_twice,
    pods_pull_from_the_registry_by_name_and_by_digest,
    pods_find_services_by_name,
    pods_reach_the_registry_by_name,
    pod_logs_come_through_the_api,
    load_balancers_answer_everywhere,
    pods_and_services_of_one_cluster_are_reached_from_the_other,
    pods_reach_the_api_server_of_the_other_cluster,
    a_cut_cluster_is_silent_until_it_is_healed,
    an_address_that_nobody_serves_is_refused_at_once,
    asked_addresses_are_given_once_and_come_back,
    addresses_survive_a_restart_of_their_controller,
    metrics_are_served,
    an_autoscaler_scales_out_under_load,
    traffic_goes_on_without_the_api_server,
    a_restarted_api_server_has_its_objects_and_works,
)


def _client_image() -> oci.Image:
    """The machine's own curl, a dynamic program, beside one that waits."""
    curl = shutil.which("curl")
    if curl is None:
        raise HarnessError("curl is not installed: run tests/setup/setup.sh")
    sleeper = fixtures.sleeper()
    try:
        extra = [rootfs.executable(Path(curl), "/usr/local/bin/curl"), *rootfs.libraries(Path(curl))]
        layers = rootfs.layers_for(sleeper, "/usr/local/bin/sleeper", strip=True, extra=extra)
        return oci.build(layers, oci.Options(("/usr/local/bin/sleeper",)))
    finally:
        shutil.rmtree(sleeper.parent)


def _pods_have_metrics(cluster: Cluster) -> None:
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods"
    api = Api(cluster)
    wait_for("metrics of pods", lambda: any("httpbin" in pod["metadata"]["name"] for pod in api.get(path).get("items", [])), 45, every=1)
    kubectl(cluster, "-n", NAMESPACE, "top", "pods")


def _same(got: object, want: object) -> None:
    if got != want:
        raise HarnessError(f"got {got!r}, want {want!r}")
