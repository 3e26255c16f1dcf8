# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""`make up ONCE=1`: a whole fleet on this machine, one request through each cluster."""
from __future__ import annotations

from runner.process import run as command
from runner.report import Result


def run() -> Result:
    """Starts the quickstart fleet, lets it check itself, and expects nothing left behind."""
    result = Result()
    done = command("up-once", ["make", "--no-print-directory", "up", "ONCE=1"], 900)
    result.check("make up ONCE=1", done.good, "" if done.good else done.tail(30))
    return result
