# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Kept connections to each gateway, asked until an answer shows the change."""
from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

from bench.api_server import BenchError
from bench.objects import ADDRESS, HEADER, PORT, host_of

ANSWER_LIMIT_SECONDS = 10.0
# The kernel shares connections out to the processes; so many tries miss one of two with a chance of 2^-63.
TRIES = 64


class Connection:
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._socket = socket.create_connection((ADDRESS, PORT), ANSWER_LIMIT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, host: str) -> tuple[int, str]:
        """Status, and the value that the route sets."""
        self._socket.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        data = b""
        while (split := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        head = data[:split].decode("latin-1").lower()
        length = re.search(r"^content-length: (\d+)", head, re.MULTILINE)
        missing = split + 4 + (int(length.group(1)) if length else 0) - len(data)
        while missing > 0:
            missing -= len(self._receive())
        value = re.search(rf"^{HEADER}: (\S+)", head, re.MULTILINE)
        return int(head.split(" ", 2)[1]), value.group(1) if value else ""

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise BenchError("a gateway closed a kept connection")
        return data

    def owner(self, pids: list[int]) -> int | None:
        """The process that took it."""
        near, far = self._socket.getpeername(), self._socket.getsockname()
        wanted = f"{hexadecimal(near)} {hexadecimal(far)}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"{fields[1]} {fields[2]}" == wanted:
                return next((pid for pid in pids if f"socket:[{fields[9]}]" in sockets(pid)), None)
        return None

    def close(self) -> None:
        """Ends it."""
        self._socket.close()


def hexadecimal(place: tuple[str, int]) -> str:
    """As /proc/net/tcp writes it."""
    return socket.inet_aton(place[0])[::-1].hex().upper() + f":{place[1]:04X}"


def sockets(pid: int) -> set[str]:
    """All that a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(descriptor))
        except OSError:
            continue
    return found


class Probe:
    """One kept connection to each gateway."""

    def __init__(self, pids: list[int]) -> None:
        self.connections: dict[int, Connection] = {}
        for _ in range(TRIES):
            connection = Connection()
            connection.ask(host_of(0))
            owner = connection.owner(pids)
            if owner is None or owner in self.connections:
                connection.close()
            else:
                self.connections[owner] = connection
            if len(self.connections) == len(pids):
                return
        raise BenchError(f"{TRIES} connections reached {len(self.connections)} of {len(pids)} gateways")

    def until(self, number: int, value: str, limit: float = ANSWER_LIMIT_SECONDS) -> tuple[float | None, int]:
        """When every gateway answered with the value; and how many answers were no success."""
        waiting = dict(self.connections)
        host, errors, last = host_of(number), 0, None
        stop = time.monotonic() + limit
        while waiting:
            for pid in list(waiting):
                status, seen = waiting[pid].ask(host)
                errors += status != 200
                if seen == value:
                    last = time.time()
                    del waiting[pid]
            if waiting and time.monotonic() > stop:
                return None, errors
        return last, errors

    def close(self) -> None:
        """Ends the connections."""
        for connection in self.connections.values():
            connection.close()
