# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs commands with a limit in time and a log that is kept."""
from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runner.report import ROOT

LOGS = ROOT / "target" / "logs"
CACHE = Path(os.environ.get("GATEFLEET_CACHE", Path.home() / ".cache" / "gatefleet"))


@dataclass
class Done:
    """How a command ended."""

    code: int
    output: str
    timed_out: bool = False

    @property
    def good(self) -> bool:
        """Whether it ended with status 0 in time."""
        return self.code == 0 and not self.timed_out

    def tail(self, lines: int = 15) -> str:
        """Its last lines."""
        return "\n".join(self.output.rstrip().splitlines()[-lines:])


def run(name: str, command: list[str], limit: float, env: dict[str, str] | None = None, stdin: str | None = None) -> Done:
    """Runs a command in its own process group; past the limit the group is ended. Output goes to target/logs/NAME.log."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        timed_out = False
        try:
            process.communicate(stdin.encode() if stdin is not None else None, timeout=limit)
        except subprocess.TimeoutExpired:
            timed_out = True
            end_group(process)
    output = log.read_text(errors="replace")
    if timed_out:
        output += f"\nended after {limit:.0f} s: {' '.join(command)}\n"
    return Done(process.returncode if process.returncode is not None else -1, output, timed_out)


def end_group(process: subprocess.Popen[bytes], grace: float = 10) -> None:
    """Ends a process that we started with its children, gently first."""
    for sign, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(wait)
            break
        except subprocess.TimeoutExpired:
            continue
