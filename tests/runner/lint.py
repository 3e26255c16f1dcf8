# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Format, lints, licences, advisories, charts, kind files."""
from __future__ import annotations

from runner import charts, deny
from runner.process import run as command
from runner.report import Result


def run() -> Result:
    """Every check that reads the sources without running them."""
    result = Result()
    steps = {
        "cargo fmt": (["cargo", "fmt", "--all", "--check"], 120),
        "cargo clippy": (["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"], 2400),
        "kind files": (["kind-configs/check"], 60),
    }
    for name, (line, limit) in steps.items():
        done = command(name.replace(" ", "-"), line, limit)
        result.check(name, done.good, "" if done.good else done.tail(30))
    charts.check(result)
    deny.check(result)
    return result
