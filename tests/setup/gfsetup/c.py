# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes that compile one C file to a static program."""

import subprocess
from pathlib import Path
from typing import TextIO

from .cache import BuildError, Recipe

COMPILE_LIMIT_SECONDS = 60


def from_c(name: str, about: str, source: Path) -> Recipe:
    """Compiles and strips `source`."""

    def build(out: Path, log: TextIO) -> None:
        command = ["gcc", "-static", "-Os", "-s", "-Wall", "-Werror", "-o", str(out / name), str(source)]
        if subprocess.run(command, stdout=log, stderr=log, timeout=COMPILE_LIMIT_SECONDS).returncode != 0:
            raise BuildError(f"{source} does not compile; log: {log.name}")

    return Recipe(name, about, lambda: [source.read_bytes()], build, name)
