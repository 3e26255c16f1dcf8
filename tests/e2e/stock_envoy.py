#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A gateway program that is our own in one cluster and the real Envoy in another: `stock_envoy.py --bootstrap FILE`.

Envoy gets what our gateway gets: the fleet's roots, a token, a certificate that the relay issues for it, the relay's ADS.
"""
from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

LIMIT_SECONDS = 10


class RelayConnection(http.client.HTTPSConnection):
    """To the relay's address, verified by the name in its certificate."""

    def __init__(self, address: str, server_name: str, roots: str) -> None:
        host, _, port = address.rpartition(":")
        super().__init__(host, int(port), timeout=LIMIT_SECONDS)
        self._name = server_name
        self._tls = ssl.create_default_context(cafile=roots)

    def connect(self) -> None:
        """Connects and shakes hands."""
        plain = socket.create_connection((self.host, self.port), LIMIT_SECONDS)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


def main(arguments: list[str]) -> None:
    """Becomes the one or the other program."""
    bootstrap = Path(arguments[arguments.index("--bootstrap") + 1])
    config = json.loads(bootstrap.read_text())
    if config["node"]["cluster"] != "stock":
        gateway = os.environ["ORACLE_GATEWAY"]
        os.execv(gateway, [gateway, *arguments])
    folder = bootstrap.parent
    node = certificate(config, folder)
    envoy_config = folder / "envoy.json"
    envoy_config.write_text(json.dumps(envoy(config, folder, node), indent=1))
    envoy_program = os.environ["ORACLE_ENVOY"]
    line = [envoy_program, "-c", str(envoy_config), "--concurrency", "1", "--base-id", str(os.getpid()), "--log-level", "warning"]
    os.execv(envoy_program, line)


def certificate(config: dict, folder: Path) -> str:
    """Makes a key, has the relay sign it, and returns the node id that the certificate names."""
    key, request, chain = (folder / name for name in ("key.pem", "request.pem", "chain.pem"))
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=unused",
            "-keyout", str(key), "-out", str(request))
    relay = config["relay"]
    connection = RelayConnection(relay["issuer"], relay["serverName"], config["trustBundle"])
    body = json.dumps({"csr": request.read_text(), "token": Path(config["tokenFile"]).read_text().strip()})
    connection.request("POST", "/v1/certificate", body, {"content-type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise SystemExit(f"the relay issued no certificate: {response.status} {answer[:300]!r}")
    chain.write_text(json.loads(answer)["chain"])
    subject = openssl("x509", "-in", str(chain), "-noout", "-subject", "-nameopt", "multiline")
    return next(line.split("=", 1)[1].strip() for line in subject.splitlines() if "commonName" in line)


def openssl(*arguments: str) -> str:
    """Runs openssl."""
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS).stdout


def envoy(config: dict, folder: Path, node: str) -> dict:
    """A stock bootstrap: dynamic resources from the relay, admin and readiness where the fleet looks for them."""
    host, _, port = config["relay"]["address"].rpartition(":")
    source = {"ads": {}, "resource_api_version": "V3"}
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": config["relay"]["serverName"],
        "common_tls_context": {
            "tls_certificates": [
                {"certificate_chain": {"filename": str(folder / "chain.pem")}, "private_key": {"filename": str(folder / "key.pem")}}
            ],
            "validation_context": {
                "trusted_ca": {"filename": config["trustBundle"]},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": config["relay"]["serverName"]}}],
            },
            "alpn_protocols": ["h2"],
        },
    }
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": address(host, int(port))}}
    relay = {
        "name": "relay",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "relay", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    ads = {"api_type": os.environ.get("ORACLE_API_TYPE", "DELTA_GRPC"), "transport_api_version": "V3"}
    ads["grpc_services"] = [{"envoy_grpc": {"cluster_name": "relay"}}]  # type: ignore[assignment]
    return {
        "node": {"id": node, "cluster": config["node"]["cluster"]},
        "admin": {"address": address(*split(config["admin"]))},
        "dynamic_resources": {"ads_config": ads, "lds_config": source, "cds_config": source},
        "static_resources": {"clusters": [relay], "listeners": [readiness(config["readiness"])]},
    }


def readiness(where: str) -> dict:
    """Answers 200 once Envoy serves."""
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "readiness",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
        ],
    }
    filters = [{"name": "http", "typed_config": manager}]
    return {"name": "readiness", "address": address(*split(where)), "filter_chains": [{"filters": filters}]}


def split(where: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = where.rpartition(":")
    return host, int(port)


def address(host: str, port: int) -> dict:
    """A socket address."""
    return {"socket_address": {"address": host, "port_value": port}}


if __name__ == "__main__":
    main(sys.argv[1:])
