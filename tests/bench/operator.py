# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The operator under test: its process, its gateways, what it logs and counts."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.api_server import end, free_port, wait_for

TICKS = os.sysconf("SC_CLK_TCK")
ACKNOWLEDGED = "gatefleet::acknowledgements"


@dataclass(frozen=True)
class Acknowledgement:
    """A gateway serves a configuration as a whole; when, in seconds since the epoch by the operator's clock."""

    node: str
    sequence: int
    at: float


class Operator:
    """A hub with its relay for the Host cluster in one process."""

    def __init__(self, programs: Path, kubeconfig: Path, folder: Path) -> None:
        self.http = free_port()
        self._log = (folder / "operator.log").open("wb")
        command = [str(programs / "gatefleet"), "operator", "--roles", "hub"]
        command += ["--gateway-program", str(programs / "gatefleet-gateway"), "--state-dir", str(folder / "state")]
        for flag, port in (("http", self.http), ("xds", free_port()), ("issuer", free_port())):
            command += [f"--{flag}-listen", f"127.0.0.1:{port}"]
        filters = f"warn,{ACKNOWLEDGED}=debug"
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "GATEFLEET_LOG": filters, "GATEFLEET_LOG_FORMAT": "json"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self._news = threading.Condition()
        self._last: dict[str, Acknowledgement] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if ACKNOWLEDGED.encode() not in line:
                self._log.write(line)
                self._log.flush()
                continue
            found = acknowledgement(line)
            with self._news:
                self._last[found.node] = found
                self._news.notify_all()

    def sequence(self) -> int:
        """The newest set that any gateway took."""
        with self._news:
            return max((ack.sequence for ack in self._last.values()), default=0)

    def acknowledged(self, after: int, gateways: int, limit: float) -> float | None:
        """When the last of all gateways took a set newer than `after`; none when that took longer than `limit`."""
        stop = time.monotonic() + limit
        with self._news:
            while True:
                newer = [ack.at for ack in self._last.values() if ack.sequence > after]
                if len(newer) >= gateways:
                    return max(newer)
                left = stop - time.monotonic()
                if left <= 0:
                    return None
                self._news.wait(left)

    def gateways(self) -> list[int]:
        """Process ids of its gateways."""
        pid = self.process.pid
        return [child for child in children(pid) if "gatefleet-gateway" in command_line(child)]

    def bytes_sent(self) -> int:
        """Encoded xDS responses to all gateways so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(int(float(value)) for value in re.findall(r"^xds_sent_bytes_total\{[^}]*\} (\S+)", text, re.MULTILINE))

    def stop(self) -> None:
        """Ends it; gateways that outlive it are ended, too."""
        gateways = self.gateways() if self.process.poll() is None else []
        end(self.process, 20)
        self._reader.join(5)
        self._log.close()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            left = [pid for pid in gateways if "gatefleet-gateway" in command_line(pid)]
            for pid in left:
                os.kill(pid, sign)
            if left:
                time.sleep(2)

    def wait_gateways(self, count: int, limit: float) -> list[int]:
        """Its gateways once there are so many."""
        wait_for(f"{count} gateway processes", limit, lambda: len(self.gateways()) == count)
        return self.gateways()


def acknowledgement(line: bytes) -> Acknowledgement:
    """Reads one line of the log."""
    record = json.loads(line)
    fields = {**record, **record.get("fields", {})}
    at = datetime.fromisoformat(record["timestamp"].replace("Z", "+00:00")).timestamp()
    return Acknowledgement(str(fields["node"]), int(fields["sequence"]), at)


def children(pid: int) -> list[int]:
    """Children of all threads of a process."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in file.read_text().split()]
        except OSError:
            continue
    return sorted(found)


def command_line(pid: int) -> str:
    """What a process was started as; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def cpu_seconds(pids: list[int]) -> float:
    """CPU that processes took so far."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def resident_mib(pid: int) -> float:
    """Memory that a process holds now."""
    found = re.search(r"^Rss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found.group(1)) / 1024 if found else 0.0
