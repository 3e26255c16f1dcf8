# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""How each peer is configured: one worker, the same routes, warm connections to the upstream, no access log, TLS 1.2 and 1.3 with
one ECDSA P-256 certificate and session tickets, everything else as shipped."""
from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """What every peer is told."""

    folder: Path
    plain: int
    tls: int
    upstream: int
    grpc: int
    certificate: Path
    key: Path
    both: Path
    hosts: int = 0
    connections: int = 9_000

    def fill(self, text: str, **more: object) -> str:
        """A configuration with these values."""
        values = {**{k: getattr(self, k) for k in self.__dataclass_fields__}, **more}
        return string.Template(text).substitute(values)


NGINX = """
daemon off; master_process on; worker_processes 1; pid $folder/nginx.pid; error_log $folder/error.log error;
events { worker_connections 19000; multi_accept on; }
http {
  access_log off; keepalive_timeout 300s; keepalive_requests 1000000000;
  server_names_hash_max_size 262144; server_names_hash_bucket_size 128;
  client_body_temp_path $folder/b; proxy_temp_path $folder/p; fastcgi_temp_path $folder/f; uwsgi_temp_path $folder/u; scgi_temp_path $folder/s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $$http_host;
  upstream up { server 127.0.0.1:$upstream; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 300s; }
  upstream grpc { server 127.0.0.1:$grpc; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 300s; }
  $servers
}
"""
NGINX_ANY = """
  server {
    listen 127.0.0.1:$plain default_server; listen 127.0.0.1:$tls ssl http2 default_server;
    ssl_certificate $certificate; ssl_certificate_key $key; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sessions:4m; ssl_session_tickets on; http2_max_concurrent_streams 1024;
    location / { proxy_pass http://up; }
    location /ws { proxy_pass http://up; proxy_set_header Upgrade $$http_upgrade; proxy_set_header Connection Upgrade; }
    location /bench.Bench/ { grpc_pass grpc://grpc; }
  }
"""
NGINX_NONE = "server { listen 127.0.0.1:$plain default_server; return 404; }\n"
NGINX_HOST = "server { listen 127.0.0.1:$plain; server_name h$number.test; location / { proxy_pass http://up; } }\n"


def nginx(setting: Setting) -> str:
    """nginx.conf."""
    if setting.hosts:
        host = setting.fill(NGINX_HOST, number="@")
        servers = setting.fill(NGINX_NONE) + "".join(host.replace("@", str(n)) for n in range(setting.hosts))
    else:
        servers = setting.fill(NGINX_ANY)
    return setting.fill(NGINX, servers=servers)


HAPROXY = """
global
  nbthread 1
  maxconn $connections
  ssl-default-bind-options ssl-min-ver TLSv1.2
  stats socket $folder/sock level admin
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout tunnel 300s
  timeout http-keep-alive 300s
  http-reuse always
frontend f
  bind 127.0.0.1:$plain
  bind 127.0.0.1:$tls ssl crt $both alpn h2,http/1.1
$rules
backend up
  server u 127.0.0.1:$upstream pool-max-conn 512
backend grpc
  server g 127.0.0.1:$grpc proto h2
"""
HAPROXY_ANY = """
  use_backend grpc if { path_beg /bench.Bench/ }
  default_backend up
"""
HAPROXY_HOSTS = """
  http-request set-var(txn.b) req.hdr(host),map($folder/hosts.map)
  http-request return status 404 unless { var(txn.b) -m found }
  use_backend %[var(txn.b)]
"""


def haproxy(setting: Setting) -> dict[str, str]:
    """haproxy.cfg, and the map of hosts."""
    rules = setting.fill(HAPROXY_HOSTS if setting.hosts else HAPROXY_ANY)
    files = {"haproxy.cfg": setting.fill(HAPROXY, rules=rules)}
    if setting.hosts:
        files["hosts.map"] = "".join(f"h{n}.test up\n" for n in range(setting.hosts))
    return files


# Request ids and x-envoy-* headers are off: the others have none.
ENVOY_MANAGER = """
        - name: envoy.filters.network.http_connection_manager
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: $prefix
            generate_request_id: false
            upgrade_configs: [{upgrade_type: websocket}]
            rds: {route_config_name: routes, config_source: {path_config_source: {path: $folder/routes.pb}}}
            http_filters:
            - name: envoy.filters.http.router
              typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}
"""
ENVOY = """
node: {id: bench, cluster: bench}
static_resources:
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: $plain}}
    filter_chains:
    - filters:
$plain_manager
  - name: tls
    address: {socket_address: {address: 127.0.0.1, port_value: $tls}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {tls_minimum_protocol_version: TLSv1_2}
            tls_certificates: [{certificate_chain: {filename: $certificate}, private_key: {filename: $key}}]
      filters:
$tls_manager
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: up
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $upstream}}}}]}]
  - name: grpc
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $grpc}}}}]}]
"""


def envoy(setting: Setting) -> str:
    """envoy.yaml; the routes come from a file beside it."""
    managers = {f"{name}_manager": setting.fill(ENVOY_MANAGER, prefix=name) for name in ("plain", "tls")}
    return setting.fill(ENVOY, **managers)


def field(number: int, value: bytes | str) -> bytes:
    """One length-delimited field of a protobuf message."""
    value = value.encode() if isinstance(value, str) else value
    size, n = b"", len(value)
    while n > 127:
        size, n = size + bytes([n & 127 | 128]), n >> 7
    return bytes([number << 3 | 2]) + size + bytes([n]) + value


def envoy_host(name: str, domain: str, *, grpc: bool = False) -> bytes:
    """A VirtualHost inside a RouteConfiguration."""
    paths = [("/bench.Bench/", "grpc")] if grpc else []
    routes = b"".join(field(3, field(1, field(1, path)) + field(2, field(1, to))) for path, to in [*paths, ("/", "up")])
    return field(2, field(1, name) + field(2, domain) + routes)


def envoy_routes(hosts: list[bytes]) -> bytes:
    """A DiscoveryResponse with one RouteConfiguration, in binary: the cheapest form in which Envoy takes one."""
    kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    message = field(1, "routes") + b"".join(hosts)
    return field(2, field(1, kind) + field(2, message)) + field(4, kind)


def envoy_hosts(setting: Setting) -> list[bytes]:
    """All virtual hosts of a setting."""
    if setting.hosts:
        return [envoy_host(f"h{n}", f"h{n}.test") for n in range(setting.hosts)]
    return [envoy_host("any", "*", grpc=True)]
