# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Which build is measured, and how long it takes from `up` to the first answer."""
from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.api_server import end
from runner.process import CACHE
from runner.report import ROOT

NAMES = ("gatefleet", "gatefleet-gateway")
FOLDERS = {
    "quick": (ROOT / "target" / "quick", CACHE / "quick-target" / "quick"),
    "dev": (ROOT / "target" / "debug",),
}
UP_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Programs:
    """One build."""

    profile: str
    folder: Path
    built: str


def choose(profile: str | None) -> Programs | None:
    """The build of a profile; without one the fastest there is."""
    for name in [profile] if profile else list(FOLDERS):
        for folder in FOLDERS[name]:
            if all((folder / program).is_file() for program in NAMES):
                oldest = min((folder / program).stat().st_mtime for program in NAMES)
                return Programs(name, folder, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(oldest)))
    return None


def copied(programs: Programs, folder: Path) -> Path:
    """A copy, so that a build meanwhile changes nothing under the measurement."""
    target = folder / "programs"
    target.mkdir()
    for program in NAMES:
        shutil.copy2(programs.folder / program, target / program)
    return target


def first_answer_seconds(programs: Path, example: Path) -> float | None:
    """From the start of `gatefleet up --once` to its first answered request."""
    start = time.monotonic()
    process = subprocess.Popen(
        [str(programs / "gatefleet"), "up", str(example), "--once"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', '')}"},
    )
    limit = threading.Timer(UP_LIMIT_SECONDS, process.kill)
    limit.start()
    answered = None
    try:
        for line in process.stdout or ():
            if b" answered 2" in line and answered is None:
                answered = round(time.monotonic() - start, 2)
        good = process.wait(UP_LIMIT_SECONDS) == 0
    finally:
        limit.cancel()
        end(process)
    return answered if good else None
