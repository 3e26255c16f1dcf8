# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What must hold for any bytes: seeded mutations of good inputs, a few seconds for each target; or libFuzzer for longer."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

from runner.process import run as command
from runner.report import REPORTS, ROOT, Result

FOLDER = ROOT / "tests" / "fuzz"
PROGRAM = ROOT / "target" / "debug" / "gatefleet-fuzz"


def run(arguments: list[str] | None = None) -> Result:
    """All targets on a stable compiler; arguments are the program's (`--seconds 60 --seed 7 path`)."""
    result = Result()
    built = command("fuzz-build", ["cargo", "build", "--quiet", "--locked", "-p", "fuzz"], 3000)
    if not result.check("program is there", built.good, "" if built.good else built.tail(5)):
        return result
    report = REPORTS / "fuzz.json"
    REPORTS.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    done = command("fuzz", [str(PROGRAM), "--report", str(report), *(arguments or [])], 1800)
    if not report.is_file():
        result.check("fuzz", False, done.tail(20))
        return result
    body = json.loads(report.read_text())
    result.passed += body.pop("passed")
    for line in body.pop("failed"):
        result.check(line.split(":", 1)[0], False, line)
    result.figures = body
    print(f"  {result.passed} passed, {result.failed} failed", flush=True)
    return result


def libfuzzer(arguments: list[str]) -> Result:
    """The same targets under libFuzzer: needs `cargo-fuzz` and a nightly compiler. `SECONDS [TARGET ...]`."""
    result = Result()
    if shutil.which("cargo-fuzz") is None:
        result.check("cargo-fuzz is there", False, "cargo install cargo-fuzz")
        return result
    seconds = arguments[0] if arguments else "60"
    names = arguments[1:] or targets()
    for name in names:
        corpus = ROOT / "target" / "fuzz" / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        line = ["cargo", "+nightly", "fuzz", "run", "--fuzz-dir", str(FOLDER / "libfuzzer"), "any", str(corpus)]
        line += ["--", f"-max_total_time={seconds}", "-max_len=8192"]
        done = command(f"libfuzzer-{name}", line, float(seconds) + 1800, {"FUZZ_TARGET": name})
        result.check(f"{name} under libFuzzer", done.good, "" if done.good else done.tail(20))
    return result


def targets() -> list[str]:
    """Names of all targets, as the library lists them."""
    text = Path(FOLDER / "src" / "lib.rs").read_text()
    return [line.split('"')[1] for line in text.splitlines() if line.strip().startswith("Target { name:")]
