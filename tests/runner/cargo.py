# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The tests of the crates: tables, golden files, properties, loopback servers."""
from __future__ import annotations

import re

from runner.process import run as command
from runner.report import Result


def run() -> Result:
    """Builds everything once and runs every crate's tests."""
    result = Result()
    built = command("cargo-build", ["cargo", "build", "--workspace", "--all-targets", "--locked"], 3000)
    if not result.check("workspace builds", built.good, "" if built.good else built.tail()):
        return result
    done = command("cargo-test", ["cargo", "test", "--workspace", "--locked", "--no-fail-fast"], 1500)
    for passed, failed, ignored in re.findall(r"^test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored", done.output, re.M):
        result.passed += int(passed)
        result.failed += int(failed)
        result.skipped += int(ignored)
    for name in re.findall(r"^test (\S+) \.\.\. FAILED", done.output, re.M):
        result.notes.append(f"FAILED {name}")
    if not done.good and result.failed == 0:
        result.check("cargo test", False, done.tail())
    print(f"  {result.passed} passed, {result.failed} failed", flush=True)
    return result
