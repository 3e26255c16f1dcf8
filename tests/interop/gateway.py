# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The gateway under a stock control plane, for programs that talk through it."""
from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from e2e.control_planes import ControlPlane
from e2e.kube import wait_for
from interop import certificates
from runner.process import LOGS, end_group, run as command
from runner.report import ROOT, Result

ADDRESS = "127.0.0.29"
ADMIN, READY, METRICS = 15000, 15021, 15090


def programs(result: Result, *tools: str) -> list[str] | None:
    """The paths of test tools, and a gateway that is built; GATEFLEET_GATEWAY names one that is there already."""
    found = command("interop-tools", ["tests/setup/tool", "go-control-plane", *tools], 1800)
    good = found.good
    told = found
    if good and "GATEFLEET_GATEWAY" not in os.environ:
        told = command("interop-build", ["cargo", "build", "--quiet", "-p", "gateway"], 3000)
        good = told.good
    if not result.check("programs are there", good, "" if good else told.tail(5)):
        return None
    return found.output.rstrip().splitlines()[-1 - len(tools) :]


class Gateway:
    """A gateway, its control plane, and certificates for both of its sides."""

    def __init__(self, suite: str, control_plane: str) -> None:
        self.folder = ROOT / "target" / "interop" / suite
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / f"{suite}-gateway.log"
        self.certificates = certificates.make(self.folder)
        self._version = 0
        self._plane = ControlPlane(control_plane)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        plane = {"address": self._plane.address, "plaintext": True, "node": {"id": "edge-1", "cluster": "edge"}}
        pages = {"admin": f"{ADDRESS}:{ADMIN}", "readiness": f"{ADDRESS}:{READY}", "metrics": f"{ADDRESS}:{METRICS}"}
        bootstrap = {"controlPlane": plane, "stateDir": str(self.folder / "state"), "drainSeconds": 1, "workers": 2, **pages}
        file = self.folder / "bootstrap.yaml"
        file.write_text(json.dumps(bootstrap))
        program = os.environ.get("GATEFLEET_GATEWAY", str(ROOT / "target" / "debug" / "gatefleet-gateway"))
        with self.log.open("wb") as log:
            return subprocess.Popen([program, "--bootstrap", str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def serve(self, resources: dict[str, list[dict]]) -> None:
        """Gives it resources, and waits until it has listeners; what it refuses is an error."""
        self._version += 1
        self._plane.set(str(self._version), resources)
        wait_for("the gateway's configuration", lambda: self._plane.nacks() or self._ready(resources), 30, 0.1)
        if self._plane.nacks():
            raise ValueError(f"the gateway refuses: {self._plane.nacks()}")

    def _ready(self, resources: dict[str, list[dict]]) -> bool:
        listed = self.page("/listeners")
        return all(listener["name"] in listed for listener in resources["listeners"])

    def page(self, path: str) -> str:
        """A page of its admin address."""
        connection = http.client.HTTPConnection(ADDRESS, ADMIN, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name: str, part: str = "") -> int:
        """The sum of a metric's samples whose labels contain `part`."""
        lines = self.page("/stats/prometheus").splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.split("{")[0].split(" ")[0] == name and part in line]
        return int(sum(float(value) for value in values))

    def memory_kib(self) -> int:
        """What it holds in memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise ValueError("no VmRSS")

    def panics(self) -> list[str]:
        """Lines of its log that tell of a panic."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if "panicked" in line]

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            end_group(self._process)
        self._plane.__exit__(kind, error, trace)
