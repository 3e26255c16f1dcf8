# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""HTTP clients of the suites: single requests, and a steady load that counts every failure."""
from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """The body as JSON."""
        return json.loads(self.body)


def get(address: str, host: str, path: str = "/", port: int = 80, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@dataclass
class Load:
    """A steady rate of requests over kept connections; ends by itself after the limit."""

    address: str
    host: str
    path: str = "/"
    port: int = 80
    rate: float = 100
    connections: int = 8
    limit: float = 300
    sent: int = 0
    failures: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Load":
        end = time.monotonic() + self.limit
        for _ in range(self.connections):
            thread = threading.Thread(target=self._worker, args=(end,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _worker(self, end: float) -> None:
        pause = self.connections / self.rate
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set() and time.monotonic() < end:
            began = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection(self.address, self.port, timeout=15)
                connection.request("GET", self.path, headers={"Host": self.host})
                response = connection.getresponse()
                response.read()
                failure = "" if response.status == 200 else f"status {response.status}"
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
                connection = None
            with self._lock:
                self.sent += 1
                if failure:
                    self.failures.append(f"{time.strftime('%H:%M:%S')} {failure}")
            self._stop.wait(max(0.0, pause - (time.monotonic() - began)))

    def summary(self) -> str:
        """Counts, and the first failures."""
        return f"{self.sent} sent, {len(self.failures)} failed" + (f": {self.failures[:3]}" if self.failures else "")
