# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A stock go-control-plane server drives the gateway, in both forms of ADS; so does what istiod sent."""
from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from e2e.kube import WaitError, wait_for
from runner.process import LOGS, end_group, run as command
from runner.report import ROOT, Result

OURS = "127.0.0.28"
LISTENER, ORIGIN, CANARY, AUDIT, ADMIN, READY, METRICS = 18480, 18481, 18484, 18485, 15000, 15021, 15090
MIRRORED: list[str] = []
# What the VirtualService in istio/objects.yaml says, as requests: name, path, headers, what the answer has.
REQUESTS: list[tuple[str, str, dict[str, str], dict[str, str]]] = [
    ("a header chooses the subset", "/any", {"x-canary": "always"}, {"status": "200", "x-served-by": str(CANARY), "x-canary-served": "yes"}),
    ("a redirect", "/old", {}, {"status": "302", "location": "http://www.shop.example/new"}),
    ("an injected fault", "/broken/x", {}, {"status": "418"}),
    ("a direct response", "/teapot", {}, {"status": "418", "content-length": "15"}),
    (
        "a rewrite, headers set, added and removed",
        "/api/list?v=2",
        {"x-secret": "s"},
        {"status": "200", "x-asked": "catalog.internal/v2/list?v=2", "x-got-x-tier": "gold", "x-got-x-secret": "-", "x-by": "shop"},
    ),
    (
        "a regular expression, and CORS for the origins named",
        "/item/7",
        {"origin": "https://a.partner.example"},
        {"status": "200", "access-control-allow-origin": "https://a.partner.example", "access-control-allow-credentials": "true"},
    ),
    ("no CORS for others", "/item/7", {"origin": "https://elsewhere.example"}, {"status": "200", "access-control-allow-origin": None}),
]
WORK = ROOT / "target" / "control-planes"
ISTIO = ROOT / "tests" / "e2e" / "istio"
TYPE = "type.googleapis.com/envoy."


def run() -> Result:
    """Each control plane after the other."""
    result = Result()
    tool = command("go-control-plane-tool", ["tests/setup/tool", "go-control-plane"], 1800)
    built = command("control-planes-build", ["cargo", "build", "--quiet", "-p", "gateway"], 3000)
    good = tool.good and built.good
    if not result.check("programs are there", good, "" if good else (built if tool.good else tool).tail(5)):
        return result
    server = tool.output.rstrip().splitlines()[-1]
    origins = [ThreadingHTTPServer(at, Origin) for at in ((OURS, ORIGIN), (OURS, CANARY), ("localhost", AUDIT))]
    for origin in origins:
        threading.Thread(target=origin.serve_forever, daemon=True).start()
    try:
        for protocol in ("delta", "sotw"):
            scenario(result, protocol, server, follow)
        scenario(result, "delta", server, istio)
    finally:
        for origin in origins:
            origin.shutdown()
    return result


def scenario(result: Result, protocol: str, server: str, steps: Callable[[Result, str, "ControlPlane"], None]) -> None:
    """One server, one gateway, some steps."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with ControlPlane(server) as plane, Gateway(plane.address, protocol):
        try:
            steps(result, protocol, plane)
        except WaitError as error:
            result.check(f"{protocol}: {steps.__name__}", False, f"{error}; events: {plane.events[-6:]}")


def follow(result: Result, protocol: str, plane: "ControlPlane") -> None:
    """Routes answer, an update is taken, a bad resource is refused while the old one serves, a good one heals it."""
    plane.set("1", resources("/one", 201))
    wait_for("the first route", lambda: answer("/one") == 201, 30)
    result.check(f"{protocol}: routes answer", answer("/origin") == 200 and answer("/other") == 404)
    plane.set("2", resources("/two", 202))
    wait_for("the update", lambda: answer("/two") == 202, 15)
    result.check(f"{protocol}: an update is taken", answer("/one") == 404)
    plane.set("3", resources("/three", 999_999))
    wait_for("a NACK", lambda: bool(plane.nacks()), 15)
    named = plane.nacks()[-1]
    result.check(f"{protocol}: a bad table is refused by name", "table" in named["message"] and named["type"].endswith("RouteConfiguration"), named["message"])
    result.check(f"{protocol}: the old one serves", answer("/two") == 202 and answer("/origin") == 200)
    plane.set("4", resources("/four", 204))
    wait_for("the next good one", lambda: answer("/four") == 204, 15)
    result.check(f"{protocol}: the next good one is taken", True)


def istio(result: Result, protocol: str, plane: "ControlPlane") -> None:
    """What istiod sent to an ingress gateway; only the address that listeners bind is another."""
    recording = json.loads((ISTIO / "recording.json").read_text())
    for listener in recording["listeners"]:
        listener["address"]["socketAddress"]["address"] = OURS
    plane.set("istio", recording)
    shop = {"host": "www.shop.example"}
    wait_for("a route of istiod's", lambda: answer("/", shop) == 200 or bool(plane.nacks()), 30)
    result.check("istiod: nothing is refused", not plane.nacks(), "; ".join(n["message"] for n in plane.nacks()))
    for name, path, headers, expected in REQUESTS:
        seen = ask(path, {"host": "www.shop.example", **headers})
        wrong = [f"{key}: {seen.get(key)!r}, not {value!r}" for key, value in expected.items() if seen.get(key) != value]
        result.check(f"istiod: {name}", not wrong, "; ".join(wrong))
    result.check("istiod: other hosts are not served", answer("/", {"host": "www.other.example"}) == 404)
    result.check("istiod: requests are mirrored", bool(wait_for("the mirrored request", lambda: "/item/7" in MIRRORED, 10)))
    shares = [ask("/", shop).get("x-served-by") for _ in range(200)].count(str(CANARY))
    result.check("istiod: one request of ten goes to the second subset", 5 <= shares <= 40, f"{shares} of 200")
    warned = [line for line in (LOGS / "control-planes-gateway.log").read_text().splitlines() if "field has no effect" in line]
    messages = sorted({json.loads(line).get("message") or json.loads(line).get("fields", {}).get("message", line) for line in warned})
    result.figures["istio_warnings"] = messages
    print(f"  {len(warned)} warnings: fields without effect", flush=True)


def resources(prefix: str, status: int) -> dict[str, list[dict]]:
    """A listener with routes by name, a cluster with endpoints by name."""
    ads = {"ads": {}, "resource_api_version": "V3"}
    manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "rds": {"route_config_name": "table", "config_source": ads},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{TYPE}extensions.filters.http.router.v3.Router"}}],
    }
    routes = [
        {"match": {"prefix": "/origin"}, "route": {"cluster": "origin"}},
        {"match": {"prefix": prefix}, "direct_response": {"status": status}},
    ]
    endpoint = {"endpoint": {"address": socket(ORIGIN)}}
    return {
        "listeners": [{"name": "web", "address": socket(LISTENER), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "routes": [{"name": "table", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}],
        "clusters": [{"name": "origin", "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ads}}],
        "endpoints": [{"cluster_name": "origin", "endpoints": [{"lb_endpoints": [endpoint]}]}],
    }


def socket(port: int) -> dict:
    """An address of ours."""
    return {"socket_address": {"address": OURS, "port_value": port}}


def answer(path: str, headers: dict[str, str] | None = None) -> int | None:
    """The gateway's status; none where it does not listen."""
    connection = http.client.HTTPConnection(OURS, LISTENER, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def ask(path: str, headers: dict[str, str]) -> dict[str, str]:
    """The gateway's answer: its headers in lower case, and `status`."""
    connection = http.client.HTTPConnection(OURS, LISTENER, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return {"status": str(response.status), **{name.lower(): value for name, value in response.getheaders()}}
    finally:
        connection.close()


class Origin(BaseHTTPRequestHandler):
    """Answers everything, and says what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802
        """An answer without a body."""
        port = self.server.server_address[1]
        if port == AUDIT:
            MIRRORED.append(self.path)
        self.send_response(200)
        self.send_header("x-served-by", str(port))
        self.send_header("x-asked", f"{self.headers['host']}{self.path}")
        for name in ("x-tier", "x-secret"):
            self.send_header(f"x-got-{name}", self.headers.get(name, "-"))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class ControlPlane:
    """The server's process and what it told."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.events: list[dict[str, str]] = []
        self.address = json.loads(self._process.stdout.readline())["address"]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def set(self, version: str, resources: dict[str, list[dict]]) -> None:
        """Gives the gateway a snapshot."""
        line = json.dumps({"node": "edge-1", "version": version, "resources": resources})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        wait_for(f"snapshot {version}", lambda: any(e["event"] == "error" or e.get("version") == version for e in self.events), 10)
        errors = [e for e in self.events if e["event"] == "error"]
        if errors:
            raise WaitError(f"go-control-plane refuses a snapshot: {errors}")

    def nacks(self) -> list[dict[str, str]]:
        """What the gateway refused."""
        return [event for event in self.events if event["event"] == "nack"]

    def __enter__(self) -> "ControlPlane":
        return self

    def __exit__(self, *_: object) -> None:
        end_group(self._process)


class Gateway:
    """Our gateway under an ADS server."""

    def __init__(self, ads: str, protocol: str) -> None:
        plane = {"address": ads, "plaintext": True, "protocol": protocol, "node": {"id": "edge-1", "cluster": "edge"}}
        pages = {"admin": f"{OURS}:{ADMIN}", "readiness": f"{OURS}:{READY}", "metrics": f"{OURS}:{METRICS}"}
        bootstrap = {"controlPlane": plane, "stateDir": str(WORK / "state"), "drainSeconds": 1, "workers": 1, **pages}
        file = WORK / "bootstrap.yaml"
        file.write_text(json.dumps(bootstrap))
        log = (LOGS / "control-planes-gateway.log").open("wb")
        program = str(ROOT / "target" / "debug" / "gatefleet-gateway")
        self._process = subprocess.Popen([program, "--bootstrap", str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            end_group(self._process)
