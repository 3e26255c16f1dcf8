# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A store of built tools, keyed by a hash of what they are built from; nothing in it is ever needed, only quicker."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

LOG_TAIL_LINES = 30


class BuildError(Exception):
    """A tool could not be built; the message says where its log is."""


@dataclass(frozen=True)
class Recipe:
    """How to make one tool."""

    name: str
    about: str
    # Everything that decides the result: versions, flags, the bytes of source files.
    inputs: Callable[[], list[bytes]]
    # Writes the product into the directory it is given and its words into the log.
    build: Callable[[Path, TextIO], None]
    # The file of that directory whose path is printed.
    product: str


def root() -> Path:
    """The cache directory: $GATEFLEET_CACHE, or a folder of the user's cache."""
    chosen = os.environ.get("GATEFLEET_CACHE")
    return Path(chosen).absolute() if chosen else Path.home() / ".cache" / "gatefleet"


def key_of(recipe: Recipe) -> str:
    """A short hash of the recipe's inputs."""
    digest = hashlib.sha256()
    for part in [recipe.name.encode(), os.uname().machine.encode(), *recipe.inputs()]:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]


def obtain(recipe: Recipe) -> Path:
    """The path of the tool, built first if this key was never built here."""
    home = root() / "tools" / recipe.name / key_of(recipe)
    if not home.exists():
        with _lock(recipe.name):
            # Another process may have built it while this one waited for the lock.
            if not home.exists():
                _build_into(recipe, home)
    return home / recipe.product


def _build_into(recipe: Recipe, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    log_path = root() / "logs" / f"{recipe.name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    print(f"building {recipe.name} ({recipe.about}); log: {log_path}", file=sys.stderr)
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=home.parent))
    try:
        with log_path.open("w") as log:
            recipe.build(staging, log)
        if not (staging / recipe.product).is_file():
            raise BuildError(f"the build of {recipe.name} made no {recipe.product}; log: {log_path}")
        staging.chmod(0o755)
        # One rename, so that a half-built tool is never seen under its key.
        staging.rename(home)
    except BuildError:
        print(_tail(log_path), file=sys.stderr)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _lock(name: str) -> Iterator[None]:
    directory = root() / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another build of {name}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
