# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs up, checks, down, up, down; prints a line per check and writes the report."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gfcluster import lifecycle, plan
from gfcluster.process import HarnessError, wait_for

from . import checks, residue

REPORT = plan.REPOSITORY / "target" / "reports" / "clusters.json"
# A dead process stays in the list until init has looked at it.
REAP_LIMIT_SECONDS = 20.0


@dataclass
class Report:
    """What came out so far."""

    seconds: dict[str, float] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def check(self, name: str, function: Callable[[], object]) -> bool:
        """Runs one check; a failure is kept and does not stop the others."""
        words = name.replace("_", " ")
        started = time.monotonic()
        try:
            function()
        except (HarnessError, OSError, KeyError, IndexError, ValueError) as error:
            self.failed[words] = f"{type(error).__name__}: {error}"
            print(f"FAIL  {words}: {error}", flush=True)
            return False
        self.passed.append(words)
        print(f"ok    {words} ({time.monotonic() - started:.1f} s)", flush=True)
        return True

    def write(self) -> None:
        """Writes the figures for docs and gates."""
        document = {
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "passed": len(self.passed),
            "failed": len(self.failed),
            "checks": {name: "passed" for name in self.passed} | self.failed,
        }
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(document, indent=2) + "\n")


def main() -> int:
    """Runs everything; 0 when every check passed."""
    report = Report()
    if plan.RUNTIME.exists():
        print("error: clusters are up; this test needs the machine to itself: `cluster down` first", file=sys.stderr)
        return 2
    before = residue.snapshot()
    if report.check("two_clusters_become_ready", lambda: _up(report, "two clusters ready")):
        for function in checks.IN_ORDER:
            report.check(function.__name__, function)
    report.check("down_leaves_nothing", lambda: _down(report, before))
    report.check("a_second_up_works_at_once", lambda: _up(report, "two clusters ready again"))
    report.check("a_second_down_leaves_nothing", lambda: _down(report, before))
    report.write()
    print(f"{len(report.passed)} passed, {len(report.failed)} failed; figures in {REPORT}")
    return 1 if report.failed else 0


def _up(report: Report, name: str) -> None:
    report.seconds[name] = lifecycle.up(2, lambda text: print(f"      {text}", flush=True))


def _down(report: Report, before: dict[str, set[str]]) -> None:
    started = time.monotonic()
    lifecycle.down(lambda _: None)
    report.seconds["down"] = time.monotonic() - started

    def left() -> list[str]:
        return residue.difference(before, residue.snapshot())

    wait_for("the machine to be as before", lambda: not left(), REAP_LIMIT_SECONDS, hint=lambda: "; ".join(left()))
