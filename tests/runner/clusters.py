# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Suites on real Kubernetes clusters."""
from __future__ import annotations

from collections.abc import Callable

from runner.report import Result

SUITES: dict[str, Callable[[], Result]] = {}
BENCHES: dict[str, Callable[[], Result]] = {}


def conformance(profiles: str) -> Result:
    """The official Gateway API suite."""
    raise NotImplementedError(profiles)
