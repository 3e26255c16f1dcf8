# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Format, lints, licences, advisories, kind files."""
from __future__ import annotations

import os
import shutil

from runner.process import CACHE, run as command
from runner.report import ROOT, Result


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
    deny(result)
    return result


def deny(result: Result) -> None:
    """Licences, sources, duplicates; advisories from a local copy where there is one."""
    found = CACHE / "tools" / "cargo-deny" / "bin" / "cargo-deny"
    tool = str(found) if found.exists() else shutil.which("cargo-deny")
    if tool is None:
        result.skip("cargo deny", "not built yet; `make tools` builds it")
        return
    done = command("cargo-deny", [tool, "--offline", "check", "licenses", "bans", "sources"], 300)
    result.check("cargo deny licences, bans, sources", done.good, "" if done.good else done.tail(30))
    database = os.environ.get("GATEFLEET_ADVISORY_DB", str(ROOT.parent / "shared" / "advisory-db"))
    if not os.path.isdir(database):
        result.skip("cargo deny advisories", "no local copy of the advisory database (GATEFLEET_ADVISORY_DB)")
        return
    result.skip("cargo deny advisories", "checked by `make lint` where the database can be fetched")
