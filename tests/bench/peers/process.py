# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Processes of this run: started on one core, measured, ended by their own id."""
from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import time
from pathlib import Path

OPEN_FILES = 60_000
TICK = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """The core of the load and that of the proxy; one and the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


def open_files() -> int:
    """As many open files as are of use and this user may have; every process started from here inherits them. Gives their number."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < OPEN_FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
            return OPEN_FILES
        except (ValueError, OSError):
            pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """One process with its descendants."""

    def __init__(self, command: list[str], core: int, log: Path, *, pipe: bool = False) -> None:
        self.log = log
        with log.open("ab") as out:
            self.child = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                cwd=log.parent,
                stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self.child.pid

    def tree(self) -> list[int]:
        """The process and its descendants."""
        pids = [self.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += [int(child) for child in task.read_text().split()]
                except OSError:
                    continue
        return pids

    def cpu_seconds(self) -> float:
        """CPU time of all threads, in nanosecond steps where the kernel tells them."""
        total = 0.0
        for pid in self.tree():
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    total += int((task / "schedstat").read_text().split()[0]) / 1e9
                except (OSError, IndexError, ValueError):
                    continue
        return total

    def memory_kib(self) -> float:
        """Proportional share of resident memory."""
        total = 0
        for pid in self.tree():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            found = re.search(r"^Pss:\s+(\d+)", rollup, re.M)
            total += int(found[1]) if found else 0
        return float(total)

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.child.poll() is None

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-1500:]

    def tell(self, line: str) -> None:
        """Writes a line to its input."""
        if self.child.stdin:
            self.child.stdin.write(line.encode() + b"\n")
            self.child.stdin.flush()

    def stop(self) -> None:
        """Ends it."""
        if self.child.stdin:
            self.child.stdin.close()
        if self.alive():
            self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def head(port: int, host: str = "localhost", timeout: float = 5.0) -> bytes:
    """One request on a new connection; the start of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return s.recv(4096)


def until(what: str, holds, seconds: float, *processes: Process, pause: float = 0.002) -> None:  # noqa: ANN001
    """Waits until a condition holds, for a bounded time; a process that ends meanwhile is told with its log."""
    end = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        gone = next((p for p in processes if not p.alive()), None)
        if gone or time.monotonic() > end:
            shown = gone or (processes[0] if processes else None)
            raise RuntimeError(f"{what}: {'the process ended' if gone else 'in vain'}\n{shown.tail() if shown else ''}")
        if pause:
            time.sleep(pause)


def machine() -> tuple[float, float]:
    """Busy and total seconds of all cores, to see what others use."""
    ticks = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICK, sum(ticks) / TICK
