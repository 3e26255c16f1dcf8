# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Clients and servers of others, with the gateway between them."""
from __future__ import annotations

from runner.report import Result


def grpc() -> Result:
    """The gRPC interoperability cases."""
    from interop import grpc as suite

    return suite.run()


def websocket() -> Result:
    """WebSocket clients and servers."""
    from interop import websocket as suite

    return suite.run()
