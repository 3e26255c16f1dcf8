# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The real Envoy beside our gateway; needs no cluster."""
from __future__ import annotations

import json

from runner.process import run as command
from runner.report import ROOT, Result

WORK = ROOT / "target" / "oracle-cases"
SHOWN = 200
REPORT = WORK / "report.json"


def run() -> Result:
    """Same resources, same requests, same answers: configurations by themselves, then a whole fleet."""
    from e2e import oracle

    result = run_cases([])
    fleet = oracle.run()
    result.add(fleet)
    result.notes += fleet.notes
    result.figures.update(fleet.figures)
    return result


def run_cases(arguments: list[str]) -> Result:
    """Hand-written and generated configurations under both."""
    result = Result()
    cases(result, arguments)
    return result


def cases(result: Result, arguments: list[str]) -> None:
    """Hand-written and generated configurations under both proxies (tests/oracle)."""
    envoy = command("envoy-tool", ["tests/setup/tool", "envoy"], 900)
    built = command("oracle-cases-build", ["cargo", "build", "--quiet", "-p", "oracle", "-p", "gateway"], 3000)
    good = envoy.good and built.good
    if not result.check("programs of the comparison are there", good, "" if good else (built if envoy.good else envoy).tail(5)):
        return
    programs = ROOT / "target" / "debug"
    line = [str(programs / "gatefleet-oracle"), "run", "--gateway", str(programs / "gatefleet-gateway")]
    line += ["--envoy", envoy.output.rstrip().splitlines()[-1], "--folder", str(WORK), "--report", str(REPORT), *(arguments or ["--seed", "1"])]
    REPORT.unlink(missing_ok=True)
    done = command("oracle-cases", line, 900)
    print(done.output, flush=True)
    if not REPORT.exists():
        result.check("configurations and requests are answered alike", False, done.tail(5))
        return
    report = json.loads(REPORT.read_text())
    # Too many to be read here: the report keeps them all.
    report["differences"] = report["differences"][:SHOWN]
    figures = ("configurations", "requests", "differences", "listed", "gone", "seed")
    result.figures.update({name: report[name] for name in figures})
    result.passed += report["passed"]
    name = f"{report['requests']} requests under {report['configurations']} configurations are answered alike, or differ as listed"
    result.check(name, done.good, f"seed {report['seed']}" if done.good else done.tail(5))


def page() -> Result:
    """Writes docs/envoy-differences.md from the list."""
    result = Result()
    done = command("oracle-page", ["cargo", "run", "--quiet", "-p", "oracle", "--", "page"], 3000)
    result.check("docs/envoy-differences.md is written", done.good, "" if done.good else done.tail(5))
    return result


def control_planes() -> Result:
    """Control planes of others drive the gateway."""
    from e2e import control_planes as suite

    return suite.run()
