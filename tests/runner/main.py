# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses suites, runs them one after the other, prints the table and the closing line."""
from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable

from bench.peers import suite as peers
from runner import attack, cargo, clusters, embedded, fuzz, interop, lint, oracle
from runner.report import Result, table, write

Suite = Callable[[], Result]

# In the order in which they run: the cheap and the telling first.
CI: dict[str, Suite] = {
    "lint": lint.run,
    "unit": cargo.run,
    "up": embedded.run,
    "oracle": oracle.run,
    "framing": attack.framing,
    "h2spec": attack.h2spec,
    "floods": attack.floods,
    "continuity": attack.continuity,
    "fuzz": fuzz.run,
    "control-planes": oracle.control_planes,
    "grpc-interop": interop.grpc,
    "websocket": interop.websocket,
    **clusters.SUITES,
}


def main(arguments: list[str]) -> int:
    """`ci`, `lint`, `unit`, `up`, `e2e [SUITE]`, `conformance [PROFILES]`, `bench`, `bench-routes`."""
    what = arguments[0] if arguments else "ci"
    rest = arguments[1:]
    suites = choose(what, rest)
    if not suites:
        print(f"no suite named {' '.join(arguments)}; known: {', '.join(CI)}", file=sys.stderr)
        return 2
    results: dict[str, Result] = {}
    for name, suite in suites.items():
        print(f"== {name}", flush=True)
        results[name] = timed(name, suite)
        write(name, results[name])
    total = Result()
    for result in results.values():
        total.add(result)
    print()
    print(table(results))
    for result in results.values():
        for note in result.notes:
            print(f"- {note}")
    print(f"\n{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed else 0


def choose(what: str, rest: list[str]) -> dict[str, Suite]:
    """The suites that a command names."""
    if what == "ci":
        return CI
    if what == "e2e":
        wanted = rest[0] if rest else "all"
        return {n: s for n, s in clusters.SUITES.items() if wanted in ("all", n)}
    if what == "conformance":
        profiles = rest[0] if rest else "GATEWAY-HTTP"
        return {"conformance": lambda: clusters.conformance(profiles)}
    if what == "bench":
        return {what: lambda: peers.run(rest)}
    if what == "bench-routes":
        return {what: lambda: clusters.BENCHES[what](rest)} if what in clusters.BENCHES else {}
    if what == "continuity":
        return {what: lambda: attack.continuity(rest)}
    if what == "floods":
        return {what: lambda: attack.floods(rest)}
    if what == "fuzz":
        return {what: lambda: fuzz.run(rest)}
    if what == "libfuzzer":
        return {what: lambda: fuzz.libfuzzer(rest)}
    if what == "oracle-cases":
        return {what: lambda: oracle.run_cases(rest)}
    if what == "oracle-page":
        return {what: oracle.page}
    return {what: CI[what]} if what in CI else {}


def timed(name: str, suite: Suite) -> Result:
    """Runs a suite; one that breaks counts as one failure and never stops the others."""
    start = time.monotonic()
    try:
        result = suite()
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        result = Result(failed=1, notes=[f"FAILED {name}: the suite itself broke"])
    result.seconds = time.monotonic() - start
    return result
