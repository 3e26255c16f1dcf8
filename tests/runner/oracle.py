# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The real Envoy beside our gateway; needs no cluster."""
from __future__ import annotations

from runner.report import Result


def run() -> Result:
    """Same resources, same requests, same answers."""
    from e2e import oracle

    return oracle.run()
