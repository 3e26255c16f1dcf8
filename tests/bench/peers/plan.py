# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The tests of the peer benchmark: what each sends, to whom, for how long."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.peers.loads import Figures, Loads
from bench.peers.proxies import NAMES, Proxy

Run = Callable[[Loads, Proxy, float], Figures]
FLOOR = ("relay", *NAMES)
RATE = 10_000
CONNECTIONS = 64


@dataclass(frozen=True)
class Test:
    """One test. A peer that is no HTTP proxy (`relay`) stands for the least that can be spent."""

    name: str
    about: str
    run: Run
    seconds: float
    rounds: int
    peers: tuple[str, ...] = NAMES
    origin: str = "small"
    hosts: int = 0


def _tls(proxy: Proxy, path: str = "/") -> str:
    return f"https://127.0.0.1:{proxy.setting.tls}{path}"


def _h1(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return loads.wrk(proxy.setting.plain, seconds, CONNECTIONS)


def _routes(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return loads.wrk(proxy.setting.plain, seconds, CONNECTIONS, host=f"h{proxy.setting.hosts - 1}.test")


def _h2(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return loads.h2load(_tls(proxy), seconds, "-c16", "-m8")


def _grpc(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    return loads.h2load(_tls(proxy, "/bench.Bench/Call"), seconds, "-c16", "-m8", "-d", str(loads.message), *headers)


def _handshakes(loads: Loads, proxy: Proxy, seconds: float, *more: str) -> Figures:
    roots = str(proxy.setting.certificate)
    return loads.own(seconds, "handshakes", f"127.0.0.1:{proxy.setting.tls}", "--roots", roots, *more)


def _resumed(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return _handshakes(loads, proxy, seconds, "--resume")


def _large(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return loads.wrk(proxy.setting.plain, seconds, 8)


def _websocket(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return loads.own(seconds, "websocket", f"127.0.0.1:{proxy.setting.plain}", "--connections", str(CONNECTIONS))


def _latency(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    return loads.wrk(proxy.setting.plain, seconds, 1)


def _rate(loads: Loads, proxy: Proxy, seconds: float) -> Figures:
    url = f"http://127.0.0.1:{proxy.setting.plain}/"
    return loads.h2load(url, seconds, "--h1", f"-c{CONNECTIONS}", f"--rps={RATE / CONNECTIONS:.2f}")


TESTS = (
    Test("h1", "HTTP/1.1, 1 KiB answers, 64 connections, closed loop", _h1, 5, 3, FLOOR),
    Test("h2_tls", "HTTP/2 over TLS 1.3, 16 connections of 8 streams, HTTP/1.1 behind", _h2, 4, 3),
    Test("tls_full", "full TLS 1.3 handshake, one request, close", _handshakes, 3, 2),
    Test("tls_resumed", "resumed TLS 1.3 handshake, one request, close", _resumed, 3, 2),
    Test("grpc", "gRPC unary over TLS, HTTP/2 behind", _grpc, 3, 2),
    Test("routes_10k", "HTTP/1.1 with 10,000 hosts in the route table", _routes, 4, 2, hosts=10_000),
    Test("large", "bodies of 1 MiB, 8 connections", _large, 3, 2, FLOOR, "large"),
    Test("websocket", "messages of 1 KiB and their echo, 64 connections", _websocket, 3, 2, FLOOR),
    Test("latency", "one connection, one request at a time", _latency, 3, 2, FLOOR),
    Test("rate", f"HTTP/1.1 at {RATE:,} requests per second", _rate, 4, 2, FLOOR),
)
