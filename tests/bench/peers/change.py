# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""One host added among many: the time from the hand-over of the change until a request to it is answered 200.

The gateway gets one resource over its ADS stream; Envoy a file with its RouteConfiguration, as state of the world; nginx a new
configuration and SIGHUP; HAProxy one line over its runtime socket."""
from __future__ import annotations

import socket
import statistics
import time

from bench.figures import percentile
from bench.peers.loads import Figures
from bench.peers.process import head
from bench.peers.proxies import Proxy

LIMIT = 60.0


def measure(proxy: Proxy, changes: int) -> Figures:
    """Adds hosts one by one."""
    took = []
    before = proxy.process.cpu_seconds()
    for number in range(proxy.setting.hosts, proxy.setting.hosts + changes):
        hand_over = proxy.prepare_host(number)
        domain = f"h{number}.test"
        if b" 404 " not in head(proxy.setting.plain, domain)[:20]:
            raise RuntimeError(f"{domain} was served before the change")
        begun = time.perf_counter()
        hand_over()
        until_served(proxy.setting.plain, domain)
        took.append((time.perf_counter() - begun) * 1e6)
        time.sleep(0.02)
    cpu = proxy.process.cpu_seconds() - before
    return {
        "rps": 1e6 / statistics.median(took),
        "n": float(changes),
        "p50": statistics.median(took),
        "p99": percentile(took, 0.99),
        "p999": max(took),
        "cpu_100k": cpu / changes * 1e5,
        "mem_mib": proxy.process.memory_kib() / 1024,
        "errors": 0.0,
    }


def until_served(port: int, domain: str) -> None:
    """Asks on one connection, again and again; a new one where the peer closed it."""
    request = f"GET / HTTP/1.1\r\nHost: {domain}\r\n\r\n".encode()
    end = time.monotonic() + LIMIT
    stream = None
    while time.monotonic() < end:
        try:
            if stream is None:
                stream = socket.create_connection(("127.0.0.1", port), 5)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.sendall(request)
            answer = stream.recv(4096)
        except OSError:
            answer = b""
        if answer[9:12] == b"200":
            if stream:
                stream.close()
            return
        # What else comes of an answer in pieces would be taken for the next one; nginx's old workers would answer for ever.
        if not answer or b"nginx" in answer or b"\r\n\r\n" not in answer:
            if stream:
                stream.close()
            stream = None
        time.sleep(0.0001)
    raise RuntimeError(f"{domain} was never served")
