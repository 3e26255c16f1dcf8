# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""WebSocket clients and servers of three libraries with the gateway between them, over HTTP/1.1 and as streams of HTTP/2 (RFC 8441)."""
from __future__ import annotations

import json
import socket
import subprocess
from types import TracebackType

from e2e.kube import wait_for
from interop import resources
from interop.certificates import NAME, Certificates
from interop.gateway import ADDRESS, Gateway, programs
from runner.process import LOGS, end_group, run as command
from runner.report import Result

# Downstream and upstream; the names say how each is spoken.
LISTENERS = {"plain": 18520, "tls": 18521}
SERVERS = {"plain": 18530, "tls": 18531}
WAYS = [("plain", "plain"), ("tls", "plain"), ("tls", "tls")]
# The last one speaks HTTP/2.
CLIENTS = ("gorilla", "coder", "gobwas")
PEERS = ("gorilla", "coder")
LIMIT_SECONDS = 120
UPGRADE = {"upgrade_configs": [{"upgrade_type": "websocket"}], "http2_protocol_options": {"allow_connect": True}}


def run() -> Result:
    """Every case, each client against each server, plain text and TLS."""
    result = Result()
    found = programs(result, "websocket-peers")
    if found is None:
        return result
    plane, peers = found
    with Gateway("websocket", plane) as gateway, Server(peers, "plain", gateway.certificates), Server(peers, "tls", gateway.certificates):
        for down, up in WAYS:
            gateway.serve(configuration(gateway, up))
            for client in CLIENTS:
                for peer in PEERS:
                    pair(result, gateway, [peers, "ask", client], (down, up, peer))
        refused(result, gateway)
        wait_for("the end of all tunnels", lambda: gateway.metric("envoy_http_downstream_cx_upgrades_active") == 0, 10, 0.2)
        result.check("no tunnel is left", True)
        panics = gateway.panics()
        result.check("the gateway stands and tells of no panic", gateway.alive() and not panics, "; ".join(panics[:3]))
        result.figures["tunnels"] = gateway.metric("envoy_http_downstream_cx_upgrades_total")
    return result


def configuration(gateway: Gateway, up: str) -> dict[str, list[dict]]:
    """Both listeners, with everything sent to one of the servers but for a route without upgrades."""
    forbidden = resources.route("/forbidden", "server", upgrade_configs=[{"upgrade_type": "websocket", "enabled": False}])
    routes = [forbidden, resources.route("/", "server")]
    return {
        "listeners": [
            resources.listener(down, ADDRESS, port, routes, secure=down == "tls", **UPGRADE) for down, port in LISTENERS.items()
        ],
        "clusters": [resources.cluster("server", ADDRESS, SERVERS[up], secure=up == "tls")],
        "secrets": resources.secrets(gateway.certificates),
    }


def pair(result: Result, gateway: Gateway, line: list[str], way: tuple[str, str, str]) -> None:
    """All cases of one client against one server."""
    down, up, peer = way
    name = f"{line[2]} to {peer}, {down} to {up}"
    scheme = "wss" if down == "tls" else "ws"
    trust = [str(gateway.certificates.root), NAME] if down == "tls" else []
    before = gateway.metric("envoy_http_downstream_cx_upgrades_total")
    done = command("websocket-peers", [*line, f"{scheme}://{ADDRESS}:{LISTENERS[down]}/{peer}", *trust], LIMIT_SECONDS)
    cases = [json.loads(text) for text in done.output.splitlines() if text.startswith("{")]
    result.check(f"{name}: all cases were run", done.good and len(cases) >= 14, done.tail(3))
    for case in cases:
        result.check(f"{name}: {case['case']}", "error" not in case, case.get("error", ""))
    tunnels = gateway.metric("envoy_http_downstream_cx_upgrades_total") - before
    result.check(f"{name}: each connection was a tunnel of the gateway", tunnels >= len(cases) + 49, f"{tunnels} tunnels")


def refused(result: Result, gateway: Gateway) -> None:
    """Upgrades that a route or the listener does not allow."""
    before = gateway.metric("envoy_http_downstream_rq_ws_on_non_ws_route")
    for path, protocol in (("/forbidden", "websocket"), ("/gorilla", "other")):
        head = f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        with socket.create_connection((ADDRESS, LISTENERS["plain"]), 10) as stream:
            stream.sendall(head.encode())
            answer = stream.makefile("rb").read()
        result.check(f"{protocol} on {path} is answered 403 and the connection ends", answer.startswith(b"HTTP/1.1 403 "), answer[:80].decode(errors="replace"))
    counted = gateway.metric("envoy_http_downstream_rq_ws_on_non_ws_route") - before
    result.check("refused upgrades are counted", counted == 2, f"{counted}")


class Server:
    """Servers of both libraries on one port."""

    def __init__(self, program: str, speaks: str, certificates: Certificates) -> None:
        line = [program, "serve", f"{ADDRESS}:{SERVERS[speaks]}"]
        if speaks == "tls":
            line += [str(certificates.chain), str(certificates.key)]
        self._log = (LOGS / f"websocket-server-{speaks}.log").open("wb")
        self._process = subprocess.Popen(line, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, start_new_session=True)
        self._port = SERVERS[speaks]

    def __enter__(self) -> "Server":
        wait_for("the WebSocket server", lambda: not socket.create_connection((ADDRESS, self._port), 1).close(), 20, 0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end_group(self._process)
        self._log.close()
