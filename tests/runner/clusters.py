# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Suites on real Kubernetes clusters, and the benchmarks that need one."""
from __future__ import annotations

import sys
from collections.abc import Callable

from runner.process import run as command
from runner.report import ROOT, Result

# What every cluster runs (tests/cluster).
TOOLS = ("hyper", "pause", "coredns", "metrics-server")

sys.path[:0] = [str(ROOT / "tests" / "cluster"), str(ROOT / "tests" / "setup")]


def fleet() -> Result:
    """The whole way on two clusters."""
    from e2e import fleet as suite
    from e2e.world import as_root

    if not as_root():
        result = Result()
        result.skip("fleet", "real clusters need root")
        return result
    return suite.run()


def harness() -> Result:
    """The harness itself: up, down, nothing left, up again."""
    result = Result()
    # On a machine that never built them this takes longer than all the rest, and has its own limit.
    built = command("clusters-tools", ["tests/setup/tool", *TOOLS], 3600)
    if not result.check("tools of the clusters are there", built.good, "" if built.good else built.tail(5)):
        return result
    done = command("clusters-selftest", ["tests/cluster/selftest"], 900)
    result.check("tests/cluster/selftest", done.good, done.tail(6))
    return result


def conformance(profiles: str) -> Result:
    """The official Gateway API suite."""
    from e2e import conformance as suite

    return suite.run(profiles)


def conformance_slice() -> Result:
    """One test of the official suite, where its binary is built; `make conformance` runs a whole profile."""
    from e2e.world import as_root
    from gfsetup import cache

    result = Result()
    built = any(cache.root().glob("tools/conformance.test/*/conformance.test"))
    if not built or not as_root():
        why = "needs root" if built else "not built yet; `make tools` builds it"
        result.skip("conformance", why)
        return result
    from e2e import conformance as suite

    result = suite.run("GATEWAY-HTTP", only="HTTPRouteMatching", limit=600)
    # The rest of the profile was not asked for.
    result.skipped = 0
    return result


def bench_routes(arguments: list[str]) -> Result:
    """A route's change on a real API server, to every gateway."""
    from bench import routes

    return routes.run(arguments)


SUITES: dict[str, Callable[[], Result]] = {"clusters": harness, "fleet": fleet, "conformance-slice": conformance_slice}
BENCHES: dict[str, Callable[[list[str]], Result]] = {"bench-routes": bench_routes}
