# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Envoy resources in their JSON form: listeners, routes, clusters, secrets."""
from __future__ import annotations

from interop.certificates import NAME, Certificates

TYPE = "type.googleapis.com/envoy."
SERVER, ROOTS = "server", "roots"


def listener(name: str, address: str, port: int, routes: list[dict], *, secure: bool = False, **manager: object) -> dict:
    """HTTP/1.1 and HTTP/2 on one port, in plain text or over TLS; what else is given are settings of the connection manager."""
    http = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{TYPE}extensions.filters.http.router.v3.Router"}}],
        **manager,
    }
    chain: dict[str, object] = {"filters": [{"name": "http", "typed_config": http}]}
    if secure:
        common = {"alpn_protocols": ["h2", "http/1.1"], "tls_certificate_sds_secret_configs": [_secret(SERVER)]}
        chain["transport_socket"] = _tls("DownstreamTlsContext", {"common_tls_context": common})
    return {"name": name, "address": socket(address, port), "filter_chains": [chain]}


def route(prefix: str, cluster: str, **action: object) -> dict:
    """A prefix to a cluster, without a limit in time."""
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s", **action}}


def cluster(name: str, address: str, port: int, *, secure: bool = False, http2: bool = False) -> dict:
    """A cluster of one endpoint."""
    endpoint = {"endpoint": {"address": socket(address, port)}}
    made: dict[str, object] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if http2:
        options = {"@type": f"{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    if secure:
        trusted = {"default_validation_context": {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": NAME}}]}}
        common: dict[str, object] = {"combined_validation_context": {**trusted, "validation_context_sds_secret_config": _secret(ROOTS)}}
        if http2:
            common["alpn_protocols"] = ["h2"]
        made["transport_socket"] = _tls("UpstreamTlsContext", {"sni": NAME, "common_tls_context": common})
    return made


def secrets(certificates: Certificates) -> list[dict]:
    """What the listeners prove themselves by, and whom the clusters trust."""
    inline = {name: {"inline_string": path.read_text()} for name, path in vars(certificates).items()}
    return [
        {"name": SERVER, "tls_certificate": {"certificate_chain": inline["chain"], "private_key": inline["key"]}},
        {"name": ROOTS, "validation_context": {"trusted_ca": inline["root"]}},
    ]


def socket(address: str, port: int) -> dict:
    """A TCP address."""
    return {"socket_address": {"address": address, "port_value": port}}


def _tls(context: str, settings: dict[str, object]) -> dict:
    return {"name": "tls", "typed_config": {"@type": f"{TYPE}extensions.transport_sockets.tls.v3.{context}", **settings}}


def _secret(name: str) -> dict:
    return {"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}
