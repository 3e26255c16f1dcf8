# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Hostile and impatient clients against a running gateway: the framing corpus, HTTP/2 conformance, floods and slow clients."""
from __future__ import annotations

import json

from runner.process import run as command
from runner.report import REPORTS, ROOT, Result

PROGRAM = ROOT / "target" / "debug" / "gatefleet-attack"


def framing() -> Result:
    """Every head of the corpus, refused or served as its tier says."""
    return suite("framing", "desync-corpus", "--corpus", folder=True)


def h2spec() -> Result:
    """All cases of h2spec, over TLS and in plain text, strict and not."""
    return suite("h2spec", "h2spec", "--tool")


def floods(arguments: list[str] | None = None) -> Result:
    """Floods, slow clients, crowds, requests with two readings; `--slow N` and `--idle N` for more of them."""
    return against_process("floods", arguments)


def continuity(arguments: list[str] | None = None) -> Result:
    """Load while the configuration changes; `--swaps N`, `--rotations N`, `--listeners N` and `--churns N` for more of it."""
    return against_process("continuity", arguments)


def against_process(name: str, arguments: list[str] | None) -> Result:
    """A suite that starts the gateway's program itself."""
    result = Result()
    built = command(f"{name}-build", ["cargo", "build", "--quiet", "--locked", "-p", "attack", "-p", "gateway"], 3000)
    if result.check("programs are there", built.good, "" if built.good else built.tail(5)):
        line = ["--gateway", str(ROOT / "target" / "debug" / "gatefleet-gateway"), "--folder", str(ROOT / "target" / name)]
        take_over(result, name, [*line, *(arguments or [])])
    return result


def suite(name: str, tool: str, option: str, folder: bool = False) -> Result:
    """Builds what it needs, runs it, takes its report over."""
    result = Result()
    found = command(f"{tool}-tool", ["tests/setup/tool", tool], 900)
    built = command("attack-build", ["cargo", "build", "--quiet", "--locked", "-p", "attack"], 3000)
    good = found.good and built.good
    if not result.check("programs are there", good, "" if good else (built if found.good else found).tail(5)):
        return result
    path = found.output.rstrip().splitlines()[-1]
    if folder:
        path = path.rsplit("/", 1)[0]
    take_over(result, name, [option, path])
    return result


def take_over(result: Result, name: str, arguments: list[str]) -> None:
    """Runs a suite of the program and takes its report over."""
    report = REPORTS / f"{name}.json"
    REPORTS.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    done = command(name, [str(PROGRAM), name, *arguments, "--report", str(report)], 600)
    if not report.is_file():
        result.check(name, False, done.tail(20))
        return
    body = json.loads(report.read_text())
    result.passed += body.pop("passed")
    for line in body.pop("failed"):
        result.check(line.split(":", 1)[0], False, line)
    result.figures = body
    print(f"  {result.passed} passed, {result.failed} failed", flush=True)
