# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The real Envoy as oracle: the relay's resources without one rejection, and the same answers as our gateway."""
from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from e2e.kube import WaitError, wait_for
from runner.process import LOGS, end_group, run as command
from runner.report import ROOT, Result

OURS, STOCK = "127.0.0.8", "127.0.0.9"
HTTP, HTTPS = 8480, 8443
SOURCE = ROOT / "tests" / "e2e" / "oracle-fleet"
WORK = ROOT / "target" / "oracle"
# What a proxy says of itself or of the connection; never the route's doing.
OWN = ("x-request-id", "x-forwarded-", "x-envoy-", "date", "server", "connection", "transfer-encoding", "content-length")


@dataclass(frozen=True)
class Ask:
    """One request for both."""

    host: str
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = field(default=())
    secure: bool = False

    def __str__(self) -> str:
        extra = "".join(f" {k}:{v}" for k, v in self.headers)
        return f"{self.method} {'https' if self.secure else 'http'}://{self.host}{self.path}{extra}"


def asks() -> list[Ask]:
    """What both are asked."""
    match = [Ask("match.example", path) for path in PATHS]
    match += [
        Ask("match.example", "/header", headers=(("version", "two"),)),
        Ask("match.example", "/header", headers=(("Version", "two"),)),
        Ask("match.example", "/header", headers=(("version", "twofold"),)),
        Ask("match.example", "/method", "POST"),
        Ask("match.example", "/only", "PUT"),
        Ask("match.example", "/only", "DELETE"),
        Ask("MATCH.example", "/exact"),
        Ask(f"match.example:{HTTP}", "/exact"),
        Ask("match.example", "/exact", "HEAD"),
        Ask("match.example", "/exact", "OPTIONS"),
    ]
    filters = [Ask("filter.example", path) for path in FILTER_PATHS]
    filters.append(Ask("filter.example", "/request", headers=(("x-set", "old"), ("x-add", "mine"), ("X-Remove", "gone"))))
    hosts = [Ask(host, "/any") for host in HOSTS]
    ingress = [Ask("ingress.example", path) for path in ("/foo", "/foo/", "/foo/x", "/foobar", "/foo/bar", "/foo/bar/", "/")]
    secure = [Ask("match.example", "/exact", secure=True), Ask("a.wild.example", "/x", secure=True), Ask("nobody.example", secure=True)]
    return [*match, *filters, *hosts, *ingress, *secure]


PATHS = (
    "/", "/exact", "/exact/", "/exact?a=b", "/exactly", "/prefix", "/prefix/", "/prefix/a/b?c=d", "/prefixed", "/r1/x", "/r12/", "/r/x",
    "/xr1/x", "/header", "/query", "/query?animal=whale", "/query?animal=dolphin", "/query?x=1&animal=whale", "/query?animal=whale&animal=x",
    "/method", "/status/404", "/status/503", "/a//b", "/a/./b", "/a/../exact", "/%65xact", "/a%2Fb", "/prefix/%2e%2e/exact",
)  # fmt: skip
FILTER_PATHS = (
    "/request", "/response", "/redirect", "/redirect/a/b?c=d", "/redirect/", "/port/x?y", "/whole/x?y=z", "/part", "/part/", "/part/a/b?c",
    "/partial", "/missing", "/slow", "/nothing",
)  # fmt: skip
HOSTS = ("a.wild.example", "a.b.wild.example", "wild.example", "nobody.example", "match.example.", "127.0.0.1")


def run() -> Result:
    """Starts a fleet with one cluster of each kind and compares."""
    result = Result()
    envoy = command("envoy-tool", ["tests/setup/tool", "envoy"], 900)
    built = command("oracle-build", ["cargo", "build", "--quiet", "-p", "operator", "-p", "gateway"], 3000)
    good = envoy.good and built.good
    if not result.check("programs are there", good, "" if good else (built if envoy.good else envoy).tail(5)):
        return result
    for api_type in ("DELTA_GRPC", "GRPC"):
        compare(result, api_type, envoy.output.rstrip().splitlines()[-1])
    return result


def compare(result: Result, api_type: str, envoy: str) -> None:
    """One fleet, with Envoy speaking one of the two forms of ADS."""
    folder = prepare()
    state = WORK / "state"
    environment = {"ORACLE_ENVOY": envoy, "ORACLE_GATEWAY": str(ROOT / "target" / "debug" / "gatefleet-gateway"), "ORACLE_API_TYPE": api_type}
    line = [str(ROOT / "target" / "debug" / "gatefleet"), "up", str(folder), "--state", str(state), "--log", "info"]
    line += ["--gateway", str(ROOT / "tests" / "e2e" / "stock_envoy.py")]
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"oracle-{api_type}.log").open("wb") as log:
        up = subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | environment, start_new_session=True)
    try:
        for address in (OURS, STOCK):
            wait_for(f"an answer of {address}", lambda a=address: answer(a, Ask("match.example", "/exact"))["status"] == 200, 60)
        same(result, api_type)
        no_rejection(result, api_type, state)
    except WaitError as error:
        result.check(f"{api_type}: both serve", False, f"{error}; log: {LOGS / f'oracle-{api_type}.log'}; state: {state}")
    finally:
        # Ends by itself what it started.
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(60)
        except subprocess.TimeoutExpired:
            end_group(up)


def prepare() -> Path:
    """The folder of the fleet: what is committed, Services of both clusters, a certificate."""
    shutil.rmtree(WORK, ignore_errors=True)
    folder = WORK / "fleet"
    shutil.copytree(SOURCE, folder)
    for cluster, address in (("ours", OURS), ("stock", STOCK)):
        documents = [d for name, port in (("one", 9481), ("two", 9482)) for d in service(name, address, port)]
        home = folder / "clusters" / cluster
        home.mkdir(parents=True)
        secret = certificate_secret()
        (home / "services.yaml").write_text("\n---\n".join(json.dumps(d) for d in [*documents, secret]))
    return folder


def service(name: str, address: str, port: int) -> list[dict]:
    """A Service and its endpoint."""
    metadata = {"name": name, "namespace": "shop"}
    ports = [{"name": "http", "port": port, "protocol": "TCP"}]
    endpoints = [{"addresses": [address], "conditions": {"ready": True}}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"name": "http", "port": 80}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "name": f"{name}-a", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        },
    ]


def certificate_secret() -> dict:
    """A TLS Secret for the HTTPS listener; made once for each run."""
    key, certificate = WORK / "tls.key", WORK / "tls.crt"
    if not key.exists():
        line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        line += ["-subj", "/CN=oracle", "-addext", "subjectAltName=DNS:*.example,DNS:*.wild.example", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(line, check=True, capture_output=True, timeout=30)
    data = {name: base64.b64encode(path.read_bytes()).decode() for name, path in (("tls.key", key), ("tls.crt", certificate))}
    metadata = {"name": "oracle-tls", "namespace": "gateways"}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}


def same(result: Result, api_type: str) -> None:
    """Asks both the same."""
    different = []
    for ask in asks():
        ours, stock = answer(OURS, ask), answer(STOCK, ask)
        if ours != stock or "error" in ours:
            parts = [k for k in sorted({*ours, *stock}) if ours.get(k) != stock.get(k)]
            different.append(f"{ask}: " + ", ".join(f"{k}: ours {ours.get(k)!r}, Envoy {stock.get(k)!r}" for k in parts))
    result.figures[f"{api_type}_requests"] = len(asks())
    result.figures[f"{api_type}_different"] = len(different)
    result.check(f"{api_type}: {len(asks())} requests are answered alike", not different, "\n    ".join(["", *different]) if different else "")


def answer(address: str, ask: Ask) -> dict[str, object]:
    """An answer without what each proxy says of itself."""
    if ask.secure:
        context = ssl.create_default_context(cafile=str(WORK / "tls.crt"))
        # One certificate for all names, some of them on purpose not its own.
        context.check_hostname = False
        connection: http.client.HTTPConnection = Secure(address, ask.host, context)
    else:
        connection = http.client.HTTPConnection(address, HTTP, timeout=10)
    try:
        connection.putrequest(ask.method, ask.path, skip_host=True, skip_accept_encoding=True)
        for name, value in (("Host", ask.host), *ask.headers):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        headers = {k.lower(): v for k, v in response.getheaders() if not k.lower().startswith(OWN)}
        return {"status": response.status, "headers": headers, "backend": seen(body, response.status)}
    except (OSError, http.client.HTTPException) as error:
        return {"error": type(error).__name__}
    finally:
        connection.close()


class Secure(http.client.HTTPConnection):
    """TLS to an address under a host's name."""

    def __init__(self, address: str, host: str, context: ssl.SSLContext) -> None:
        super().__init__(address, HTTPS, timeout=10)
        self._host, self._context = host, context

    def connect(self) -> None:
        """Connects and shakes hands."""
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._host)


def seen(body: bytes, status: int) -> object:
    """What the backend saw of the request; a proxy's own answer counts by its status alone."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    headers = {k: v for k, v in told["headers"].items() if not k.startswith(OWN)}
    return {"status": status, **{k: told[k] for k in ("backend", "method", "path", "query")}, "headers": headers}


def no_rejection(result: Result, api_type: str, state: Path) -> None:
    """Envoy's own counters: nothing was rejected, everything came."""
    bootstrap = next(state.rglob("stock/**/envoy.json"))
    admin = json.loads(bootstrap.read_text())["admin"]["address"]["socket_address"]
    connection = http.client.HTTPConnection(admin["address"], admin["port_value"], timeout=10)
    connection.request("GET", "/stats")
    lines = connection.getresponse().read().decode().splitlines()
    stats = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    rejected = {k: v for k, v in stats.items() if k.endswith((".update_rejected", ".key_rotation_failed")) and v != "0"}
    result.check(f"{api_type}: Envoy rejects nothing", not rejected, str(rejected) if rejected else "")
    served = sum(int(v) for k, v in stats.items() if k.endswith("downstream_rq_completed") and "admin" not in k and "readiness" not in k)
    result.check(f"{api_type}: Envoy itself answered", served >= len(asks()), f"{served} requests")
    came = [k for k, v in stats.items() if k.endswith(".update_success") and v != "0"]
    kinds = {kind for kind in ("listener_manager.lds", "cluster_manager.cds", "rds.", "eds", "sds.") for k in came if kind in k}
    connected = stats.get("control_plane.connected_state") == "1"
    result.check(f"{api_type}: Envoy got listeners, clusters, routes and certificates", len(kinds) >= 4 and connected, f"{len(came)} subscriptions")
