# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl against one cluster, every call with a limit."""
from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from runner.report import ROOT

CLUSTER = str(ROOT / "tests" / "cluster" / "cluster")
Document = dict[str, object]


class WaitError(Exception):
    """A wait that ran out, with what it waited for and what it saw last."""


@dataclass(frozen=True)
class Kube:
    """One of the harness's clusters by name."""

    name: str

    def call(self, *arguments: str, stdin: str | None = None, limit: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs kubectl and returns however it ended."""
        line = [CLUSTER, "kubectl", self.name, *arguments]
        return subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=limit, check=False)

    def run(self, *arguments: str, stdin: str | None = None, limit: float = 60) -> str:
        """Runs kubectl; anything but success is an error with what it said."""
        done = self.call(*arguments, stdin=stdin, limit=limit)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *documents: Document) -> None:
        """Applies objects on the server side."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(items))

    def get(self, kind: str, name: str = "", namespace: str = "", selector: str = "") -> Document | None:
        """Reads an object or a list; None where it does not exist."""
        line = ["get", kind, *([name] if name else []), "-o", "json"]
        line += ["-n", namespace] if namespace else []
        line += ["-l", selector] if selector else []
        done = self.call(*line)
        if done.returncode != 0:
            if "NotFound" in done.stderr or "not found" in done.stderr:
                return None
            raise RuntimeError(f"{self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def items(self, kind: str, namespace: str = "", selector: str = "") -> list[Document]:
        """The objects of a list."""
        found = self.get(kind, namespace=namespace, selector=selector)
        return list(found["items"]) if found else []  # type: ignore[arg-type]


_at_timeout: Callable[[], object] | None = None


def on_timeout(action: Callable[[], object] | None) -> None:
    """What happens when a wait runs out, before anything is put right again."""
    global _at_timeout
    _at_timeout = action


def wait_for(what: str, test: Callable[[], object], limit: float, every: float = 0.5) -> object:
    """Repeats a test until it yields something true; what it raises or yields last is told when time is up."""
    end = time.monotonic() + limit
    last: object = None
    while time.monotonic() < end:
        try:
            last = test()
            if last:
                return last
        except (RuntimeError, OSError, LookupError, ValueError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            last = error
        time.sleep(every)
    if _at_timeout:
        _at_timeout()
    raise WaitError(f"waited {limit:.0f} s for {what}; last: {last}")


def condition(document: Document | None, kind: str) -> Document:
    """A condition of an object by its type; empty where it has none."""
    status = (document or {}).get("status", {})
    for found in status.get("conditions", []):  # type: ignore[attr-defined]
        if found["type"] == kind:
            return found
    return {}
