# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and ratios of the peer benchmark."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.peers.plan import Test

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
COLUMNS = ("rps", "p50", "p99", "p999", "cpu_100k", "mem_mib", "busy", "steal", "errors")
BASE = "envoy"
OURS = "gatefleet"


def table(test: Test, rounds: Rounds) -> str:
    """One row a peer; the last two columns compare with Envoy round by round: median and range, above 1 is better."""
    head = [*COLUMNS, f"rps / {BASE}", f"{BASE} cpu / cpu"]
    lines = [f"\n### {test.name}: {test.about}\n", "| peer | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name, own in rounds.items():
        cells = [cell(column, [r[column] for r in own if column in r]) for column in COLUMNS]
        base = rounds.get(BASE, [])
        cells.append(compared([(r["rps"], o["rps"]) for r, o in zip(own, base, strict=False)]))
        cells.append(compared([(o["cpu_100k"], r["cpu_100k"]) for r, o in zip(own, base, strict=False)]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(column: str, values: Sequence[float]) -> str:
    """A median."""
    if not values:
        return ""
    value = median(values)
    if column in ("busy", "steal"):
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 100 or column == "errors" else f"{value:.2f}"


def compared(pairs: Sequence[tuple[float, float]]) -> str:
    """Ratios of pairs."""
    found = [one / two for one, two in pairs if two]
    if not found:
        return ""
    return f"{median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def idle_table(rounds: Mapping[str, Rounds], count: int) -> str:
    """Memory of idle connections."""
    lines = [f"\n### idle: {count:,} connections that made one request and stay open\n"]
    lines += ["| peer | at start MiB | plain KiB each | plain MiB | TLS KiB each | TLS MiB |", "|---|---:|---:|---:|---:|---:|"]
    plain, tls = rounds.get("idle_plain", {}), rounds.get("idle_tls", {})
    for name in plain:
        one, two = plain[name][0], tls.get(name, [{}])[0]
        cells = [one["start_mib"], one["kib_per_connection"], one["mem_mib"], two.get("kib_per_connection", 0), two.get("mem_mib", 0)]
        lines.append(f"| {name} | " + " | ".join(f"{value:,.1f}" for value in cells) + " |")
    return "\n".join(lines)


def ratios(medians: Mapping[str, object]) -> list[str]:
    """What the gateway is measured by, from the medians of this run."""
    lines = []

    def value(test: str, peer: str, key: str) -> float:
        found = medians.get(test)
        peers = found if isinstance(found, Mapping) else {}
        return float(peers.get(peer, {}).get(key, 0.0))

    def ratio(text: str, test: str, key: str, peer: str, aim: str, *, inverse: bool = False) -> None:
        ours, theirs = value(test, OURS, key), value(test, peer, key)
        if ours and theirs:
            lines.append(f"{text}: {(theirs / ours if inverse else ours / theirs):.2f} of {peer}'s (aim {aim})")

    ratio("HTTP/1.1 requests per second", "h1", "rps", "envoy", ">= 2.2")
    ratio("HTTP/1.1 requests per second", "h1", "rps", "haproxy", ">= 1")
    ratio("HTTP/1.1 CPU per request", "h1", "cpu_100k", "envoy", "<= 0.45")
    ratio("p99 at full load", "h1", "p99", "haproxy", "<= 1")
    ratio("p99 at a fixed rate", "rate", "p99", "haproxy", "<= 1")
    ratio("HTTP/2 over TLS requests per second", "h2_tls", "rps", "envoy", ">= 1.5")
    ratio("HTTP/2 over TLS requests per second", "h2_tls", "rps", "haproxy", "the mark beyond")
    ratio("full handshakes per CPU second", "tls_full", "cpu_100k", "envoy", "> 1", inverse=True)
    ratio("resumed handshakes per CPU second", "tls_resumed", "cpu_100k", "envoy", "> 1", inverse=True)
    ratio("memory under load", "h1", "mem_mib", "envoy", "<= 0.25")
    ratio("memory with 10,000 hosts", "routes_10k", "mem_mib", "envoy", "<= 0.25")
    ratio("idle connection, plain", "idle_plain", "kib_per_connection", "envoy", "< 1")
    ratio("idle connection, TLS", "idle_tls", "kib_per_connection", "envoy", "< 1")
    floor, ours = value("h1", "relay", "cpu_100k"), value("h1", OURS, "cpu_100k")
    if floor and ours:
        lines.append(f"CPU above the byte relay: {(ours - floor) * 10:.1f} us per request (aim <= 6)")
    for size in (10, 10_000, 100_000):
        took = value(f"change_{size}", OURS, "p50")
        if took:
            lines.append(f"one host added to {size:,} is served after {took / 1000:.2f} ms (aim <= 1)")
    return lines
