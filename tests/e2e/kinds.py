# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Our kinds on a real API server: good objects are taken, each bad one is refused by exactly its rule."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from e2e import objects
from e2e.world import World
from runner.report import ROOT

DATA = ROOT / "crds" / "tests" / "data"
# The API server's words where they differ from those of the check in `crds`.
WORDS = {
    "is required": "Required value",
    "must match": "should match",
    "must be at least": "should be greater than or equal to",
    "must be at most": "should be less than or equal to",
    "must be one of": "Unsupported value",
    "is not a field": "unknown field",
}


def kinds(world: World) -> None:
    """Sends every object of crds/tests/data to the API server as a dry run."""
    world.alpha.apply(objects.namespace(objects.NAMESPACE))
    files = sorted(DATA.glob("*/*.yaml"))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda path: answer(world, path), files))
    wrong = [text for text in answers if text]
    refused = sum(path.parent.name == "refused" for path in files)
    world.result.check(
        f"the API server refuses {refused} bad objects by their rules and takes {len(files) - refused} good ones",
        not wrong and refused > 30,
        "\n    ".join(wrong),
    )


def answer(world: World, path: Path) -> str:
    """What is wrong with the API server's answer; empty where it is as expected."""
    done = world.alpha.call("create", "--dry-run=server", "--validate=strict", "-f", str(path))
    if path.parent.name == "accepted":
        return "" if done.returncode == 0 else f"{path.name}: refused: {done.stderr.strip()}"
    expected = next(line.removeprefix("# refused: ") for line in path.read_text().splitlines() if line.startswith("# refused: "))
    if done.returncode == 0:
        return f"{path.name}: taken, though {expected!r}"
    # Several causes come as a list; where a schema is broken, its end says that rules were not looked at.
    causes = [line for line in done.stderr.splitlines() if line.startswith("* ") and "rules were not checked" not in line]
    if len(causes) <= 1 and named(expected, done.stderr):
        return ""
    return f"{path.name}: expected {expected!r}, got {done.stderr.strip()}"


def named(expected: str, text: str) -> bool:
    """Whether the API server's text tells of what was expected."""
    if expected in text:
        return True
    for ours, theirs in WORDS.items():
        if ours in expected:
            field = expected.split(": ")[0]
            return theirs in text and field in text
    return False
