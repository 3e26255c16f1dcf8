# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What a suite yields, and where it is written."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "target" / "reports"


@dataclass
class Result:
    """Counts of one suite, and what to tell about it."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0

    def check(self, name: str, good: bool, note: str = "") -> bool:
        """Counts one check; a failed one is told."""
        if good:
            self.passed += 1
        else:
            self.failed += 1
            self.notes.append(f"FAILED {name}" + (f": {note}" if note else ""))
        print(f"  {'ok    ' if good else 'FAILED'} {name}" + (f" ({note})" if note else ""), flush=True)
        return good

    def skip(self, name: str, why: str) -> None:
        """Counts one check that was left out, by name."""
        self.skipped += 1
        self.notes.append(f"skipped {name}: {why}")
        print(f"  skipped {name}: {why}", flush=True)

    def add(self, other: "Result") -> None:
        """Adds another suite's counts."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def write(name: str, result: Result) -> None:
    """Writes a suite's figures to target/reports/NAME.json, keeping figures the suite wrote there itself."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{name}.json"
    body: dict[str, object] = dict(result.figures)
    body.update(
        passed=result.passed,
        failed=result.failed,
        skipped=result.skipped,
        seconds=round(result.seconds, 1),
        notes=result.notes,
    )
    path.write_text(json.dumps(body, indent=2) + "\n")


def table(results: dict[str, Result]) -> str:
    """One row a suite."""
    width = max([len(name) for name in results] + [5])
    rows = [f"{'suite':<{width}}  passed  failed  skipped  seconds"]
    for name, r in results.items():
        rows.append(f"{name:<{width}}  {r.passed:>6}  {r.failed:>6}  {r.skipped:>7}  {r.seconds:>7.0f}")
    return "\n".join(rows)
