# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Running commands and servers, and waiting with a limit."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cgroups import Cgroup

COMMAND_LIMIT_SECONDS = 60.0


class HarnessError(Exception):
    """Something did not work; the message says what was tried and what came back."""


def run(*command: str | Path, limit: float = COMMAND_LIMIT_SECONDS, stdin: str | None = None) -> str:
    """Runs a command to its end and returns what it printed."""
    words = [str(word) for word in command]
    try:
        result = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"`{' '.join(words)}` took more than {limit:.0f} s") from error
    except FileNotFoundError as error:
        raise HarnessError(f"`{words[0]}` is not installed: run tests/setup/setup.sh") from error
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        raise HarnessError(f"`{' '.join(words)}` failed: {said}")
    return result.stdout


def succeeds(*command: str | Path, limit: float = COMMAND_LIMIT_SECONDS) -> bool:
    """Whether a command ends well."""
    try:
        run(*command, limit=limit)
    except HarnessError:
        return False
    return True


def wait_for(what: str, ready: Callable[[], bool], limit: float, every: float = 0.1, hint: Callable[[], str] | None = None) -> None:
    """Waits until `ready`, at most `limit` seconds; `what` is for the reader of the failure."""
    deadline = time.monotonic() + limit
    while not ready():
        if time.monotonic() >= deadline:
            more = f": {hint()}" if hint else ""
            raise HarnessError(f"waited {limit:.0f} s for {what}{more}")
        time.sleep(every)


@dataclass(frozen=True)
class Server:
    """A process that outlives this command, known by its pid and start time (a pid alone may be someone else's later)."""

    name: str
    state: Path
    log: Path

    @property
    def record(self) -> Path:
        """The file that remembers the process."""
        return self.state / f"{self.name}.pid"

    def start(self, command: list[str | Path], cgroup: Cgroup, namespace: Path | None = None, enter: tuple[str, ...] = ()) -> None:
        """Starts the process in its cgroup and network namespace; `enter` wraps it further."""
        if self.alive():
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # Not `ip netns exec`: it remounts /sys and hides the cgroups. Every step execs, so the pid is the server's own.
        network = ("nsenter", f"--net={namespace}", "--") if namespace else ()
        join = 'for file in $GATEFLEET_CGROUP; do echo $$ > "$file"; done; unset GATEFLEET_CGROUP; exec "$@"'
        words = ["sh", "-c", join, self.name, *network, *enter, *(str(word) for word in command)]
        environment = os.environ | {"GATEFLEET_CGROUP": " ".join(str(path) for path in cgroup.member_files())}
        with self.log.open("a") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.state, env=environment, start_new_session=True
            )
        self.record.write_text(f"{process.pid} {_start_time(process.pid)}\n")

    def pid(self) -> int | None:
        """The pid, if that very process still runs."""
        try:
            pid, started = self.record.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _start_time(int(pid)) == started else None

    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid() is not None

    def kill(self, limit: float = 10.0) -> None:
        """Ends the process at once, as a crash would."""
        pid = self.pid()
        if pid is not None:
            send(pid, signal.SIGKILL)
            wait_for(f"the end of {self.name} (pid {pid})", lambda: not self.alive(), limit, every=0.02)
        self.record.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of its log, for messages."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "no log"
        return " | ".join(lines[-3:]) or "empty log"


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal; a process that has ended meanwhile is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _start_time(pid: int) -> str:
    """Clock ticks between boot and the start of a process; empty when there is none, or only its zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if after_name[0] == "Z" else after_name[19]
