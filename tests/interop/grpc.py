# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The gRPC interoperability cases of grpc-go, client and server, with the gateway between them."""
from __future__ import annotations

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
LISTENERS = {"h2c": 18500, "tls": 18501}
SERVERS = {"h2c": 18510, "tls": 18511}
WAYS = [("h2c", "h2c"), ("tls", "h2c"), ("h2c", "tls"), ("tls", "tls")]
LIMIT_SECONDS = 30
CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
    "channel_soak",
)
# Load reports are read by a balancer of the client that has to be asked for.
ORCA = '{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}'
# 100 calls by four threads; each may take what a busy machine needs.
SOAK = ["-soak_iterations=100", "-soak_num_threads=4", "-soak_per_iteration_max_acceptable_latency_ms=5000", "-soak_overall_timeout_seconds=25"]
OPTIONS = {"orca_per_rpc": ["-service_config_json", ORCA], "orca_oob": ["-service_config_json", ORCA], "rpc_soak": SOAK, "channel_soak": SOAK}
GOOGLE = "needs Google credentials"
SKIPPED = {
    "compute_engine_creds": GOOGLE,
    "service_account_creds": GOOGLE,
    "jwt_token_creds": GOOGLE,
    "per_rpc_creds": GOOGLE,
    "oauth2_auth_token": GOOGLE,
    "google_default_credentials": GOOGLE,
    "compute_engine_channel_credentials": GOOGLE,
    "pick_first_unary": "needs a server that tells its id; grpc-go's does not",
}


def run() -> Result:
    """Every case, plain text and TLS on both sides of the gateway."""
    result = Result()
    found = programs(result, "grpc-interop-client", "grpc-interop-server")
    if found is None:
        return result
    plane, client, server = found
    with Gateway("grpc-interop", plane) as gateway, Server(server, "h2c", gateway.certificates), Server(server, "tls", gateway.certificates):
        for secure in SERVERS:
            gateway.serve(configuration(gateway, secure))
            for down, up in WAYS:
                if up == secure:
                    way(result, gateway, client, down, up)
        panics = gateway.panics()
        result.check("the gateway stands and tells of no panic", gateway.alive() and not panics, "; ".join(panics[:3]))
    for name, why in SKIPPED.items():
        result.skip(name, why)
    return result


def configuration(gateway: Gateway, up: str) -> dict[str, list[dict]]:
    """Both listeners, with everything sent to one of the servers."""
    routes = [resources.route("/", "server")]
    return {
        "listeners": [resources.listener(down, ADDRESS, port, routes, secure=down == "tls") for down, port in LISTENERS.items()],
        "clusters": [resources.cluster("server", ADDRESS, SERVERS[up], secure=up == "tls", http2=True)],
        "secrets": resources.secrets(gateway.certificates),
    }


def way(result: Result, gateway: Gateway, client: str, down: str, up: str) -> None:
    """All cases in one combination."""
    before = gateway.metric("envoy_cluster_upstream_rq_total")
    for case in CASES:
        line = [client, "-server_host", ADDRESS, "-server_port", str(LISTENERS[down]), "-test_case", case, *OPTIONS.get(case, [])]
        if down == "tls":
            line += ["-use_tls", "-use_test_ca", "-ca_file", str(gateway.certificates.root), "-server_host_override", NAME]
        done = command("grpc-interop-client", line, LIMIT_SECONDS)
        result.check(f"{case}, {down} to {up}", done.good, "" if done.good else done.tail(1))
    calls = gateway.metric("envoy_cluster_upstream_rq_total") - before
    result.check(f"the calls went through the gateway, {down} to {up}", calls >= len(CASES), f"{calls} calls")
    result.figures[f"calls_{down}_{up}"] = calls


class Server:
    """The interoperability server."""

    def __init__(self, program: str, speaks: str, certificates: Certificates) -> None:
        line = [program, "-port", str(SERVERS[speaks])]
        if speaks == "tls":
            line += ["-use_tls", "-tls_cert_file", str(certificates.chain), "-tls_key_file", str(certificates.key)]
        self._log = (LOGS / f"grpc-interop-server-{speaks}.log").open("wb")
        self._process = subprocess.Popen(line, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, start_new_session=True)
        self._port = SERVERS[speaks]

    def __enter__(self) -> "Server":
        wait_for("the gRPC server", lambda: not socket.create_connection((ADDRESS, self._port), 1).close(), 20, 0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        end_group(self._process)
        self._log.close()
