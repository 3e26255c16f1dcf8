# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A bare watch: the floor under everything that reacts to an object."""
from __future__ import annotations

import re
import threading
import time

from bench.api_server import ApiServer, BenchError
from bench.objects import HEADER, ROUTES, resource_version

VALUE = re.compile(rf'"name":"{HEADER}","value":"([^"]+)"'.encode())


class Watch:
    """Notes when each value is first seen."""

    def __init__(self, server: ApiServer) -> None:
        self._client = server.client()
        version = resource_version(self._client)
        answer = self._client.stream(f"{ROUTES}?watch=1&resourceVersion={version}")
        if answer.status != 200:
            raise BenchError(f"watch: {answer.status}")
        self._answer = answer
        self._seen: dict[str, float] = {}
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while line := self._answer.readline():
                now = time.time()
                found = VALUE.search(line)
                if found is None:
                    continue
                with self._news:
                    self._seen.setdefault(found.group(1).decode(), now)
                    self._news.notify_all()
        except (OSError, ValueError, AttributeError):
            return

    def seen(self, value: str, limit: float = 10) -> float | None:
        """When the value came."""
        with self._news:
            self._news.wait_for(lambda: value in self._seen, limit)
            return self._seen.get(value)

    def close(self) -> None:
        """Ends the watch."""
        self._client.close()
