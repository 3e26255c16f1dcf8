# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Percentiles, aims, and the table of the routes benchmark."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

ABOVE_FLOOR_MS = 50.0
GROWTH = 2.0
RESIDENT_MIB = 150.0

COLUMNS = (
    ("routes", "routes", 0),
    ("floor_ms", "floor p50/p99", 1),
    ("ack_ms", "ACK +p50/p99", 1),
    ("answer_ms", "answer +p50/p99", 1),
    ("bytes_per_change", "bytes", 0),
    ("operator_cpu_ms", "op CPU", 2),
    ("gateways_cpu_ms", "gw CPU", 2),
    ("operator_mib", "op MiB", 0),
    ("gateways_mib", "gw MiB", 0),
    ("create_seconds", "create s", 1),
    ("settle_seconds", "settle s", 1),
    ("status_writes_create", "status writes", 0),
    ("status_writes_per_change", "per change", 2),
)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the worst in milliseconds."""
    return {
        "p50": round(percentile(seconds, 0.5) * 1000, 2),
        "p99": round(percentile(seconds, 0.99) * 1000, 2),
        "max": round(max(seconds) * 1000, 2),
    }


def text(value: object, digits: int) -> str:
    """One cell."""
    if isinstance(value, Mapping):
        return f"{value['p50']:.{digits}f}/{value['p99']:.{digits}f}"
    return f"{value:,.{digits}f}" if isinstance(value, (int, float)) else "-"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """One line for each number of routes; times in ms, ACK and answer above the floor of the same change."""
    lines = [[title for _, title, _ in COLUMNS]]
    lines += [[text(row.get(key), digits) for key, _, digits in COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def nested(row: Mapping[str, object], key: str, part: str) -> float:
    """A figure inside a row."""
    inner = row[key]
    return float(inner[part]) if isinstance(inner, Mapping) else 0.0


def misses(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Aims that were not reached."""
    missed = []
    for row in rows:
        for key, name in (("ack_ms", "ACK"), ("answer_ms", "first answer")):
            p99 = nested(row, key, "p99")
            if p99 > ABOVE_FLOOR_MS:
                missed.append(f"{name} at {row['routes']} routes: p99 {p99:.0f} ms above the floor, aim {ABOVE_FLOOR_MS:.0f}")
    for key, factor in growth(rows).items():
        if factor > GROWTH:
            missed.append(f"growth of {key}: x{factor:.1f} from {rows[0]['routes']} to {rows[-1]['routes']} routes, aim x{GROWTH:.0f}")
    held = rows[-1]["operator_mib"]
    if isinstance(held, (int, float)) and held > RESIDENT_MIB:
        missed.append(f"operator memory at {rows[-1]['routes']} routes: {held:.0f} MiB, aim {RESIDENT_MIB:.0f}")
    return missed


def growth(rows: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """The largest number of routes against the smallest, from the PATCH on (floor included)."""
    found = {}
    for key in ("ack_total_ms", "answer_total_ms"):
        for part in ("p50", "p99"):
            first, last = nested(rows[0], key, part), nested(rows[-1], key, part)
            found[f"{key.removesuffix('_total_ms')} {part}"] = round(last / first, 2) if first else 0.0
    return found
