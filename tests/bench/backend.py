# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the benchmark's backend listens."""
from __future__ import annotations

import socket

from bench.api_server import BenchError


def machine_address() -> str:
    """An address of this machine that an EndpointSlice may name: loopback is refused there. Traffic to it never leaves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket sends nothing; it only chooses the address.
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            raise BenchError(f"this machine has no address beside loopback: {error}") from error
        return str(probe.getsockname()[0])
