# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The loads: each runs against one proxy and gives rate, number, percentiles in microseconds and errors."""
from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

from bench.peers.process import cores
from bench.peers.proxies import Proxy

Figures = dict[str, float]
REST = 3.0

WRK_REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("FIGURES %f %d %d %d %d %d\\n", summary.requests / (summary.duration / 1e6), summary.requests,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Loads:
    """Load programs with their folder."""

    def __init__(self, folder: Path, bench: Path) -> None:
        self.folder, self.bench = folder, bench
        self.script = folder / "report.lua"
        self.script.write_text(WRK_REPORT)
        self.message = folder / "message.bin"
        self.message.write_bytes(struct.pack(">BI", 0, 64) + b"x" * 64)

    def run(self, command: list[str], seconds: float) -> str:
        """Runs a load on the load's core."""
        done = subprocess.run(
            ["taskset", "-c", str(cores()[0]), *command], capture_output=True, text=True, timeout=seconds + 90, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr[-400:]}{done.stdout[-400:]}")
        return done.stdout

    def wrk(self, port: int, seconds: float, connections: int = 64, host: str = "localhost") -> Figures:
        """HTTP/1.1 with keep-alive, closed loop."""
        url = f"http://127.0.0.1:{port}/"
        seconds = max(1, round(seconds))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(self.script), "-H", f"Host: {host}", url]
        found = re.search(r"FIGURES (.*)", self.run(command, seconds))
        if not found:
            raise RuntimeError("wrk told nothing")
        names = ("rps", "n", "p50", "p99", "p999", "errors")
        return dict(zip(names, (float(x) for x in found[1].split()), strict=True))

    def h2load(self, url: str, seconds: float, *more: str) -> Figures:
        """HTTP/2, or HTTP/1.1 at a fixed rate."""
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        seconds = max(1, round(seconds))
        out = self.run(["h2load", "-t1", f"-D{seconds}", f"--log-file={log}", *more, url], seconds)
        # Start, status, microseconds; a status below 0 or not 200 is a failure.
        took, failed = [], 0
        for line in log.read_text().splitlines():
            _, status, micros = line.split("\t")[:3]
            if status == "200":
                took.append(int(micros))
            else:
                failed += 1
        log.unlink()
        rate = re.search(r"([\d.]+) req/s", out)
        if not took or not rate:
            raise RuntimeError(out[-400:])
        took.sort()
        at = lambda share: float(took[min(len(took) - 1, int(len(took) * share))])  # noqa: E731
        return dict(rps=float(rate[1]), n=float(len(took)), p50=at(0.5), p99=at(0.99), p999=at(0.999), errors=float(failed))

    def own(self, seconds: float, *arguments: str) -> Figures:
        """A load of ours, which prints JSON."""
        return json.loads(self.run([str(self.bench), *arguments, "--seconds", str(seconds)], seconds))


def idle_kib(proxy: Proxy, count: int, *, tls: bool) -> float:
    """KiB of memory for each connection that made one request and stays open."""
    context = ssl._create_unverified_context()  # noqa: SLF001 (loopback, certificate of this run)
    port = proxy.setting.tls if tls else proxy.setting.plain
    held: list[socket.socket] = []
    before = proxy.process.memory_kib()
    try:
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", port), 20)
            # Closed by a reset: thousands of ports must not wait.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                stream = context.wrap_socket(stream)
            stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = 0
            while got < 1024:
                piece = stream.recv(65536)
                if not piece:
                    raise RuntimeError("an idle connection was closed")
                got += len(piece)
            held.append(stream)
        # Time to give up what is only used while bytes move.
        time.sleep(REST)
        return (proxy.process.memory_kib() - before) / count
    finally:
        for stream in held:
            stream.close()
