# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes that build static Go programs, from a module of this repository or from a published one."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import TextIO

from .cache import BuildError, Recipe

BUILD_LIMIT_SECONDS = 3600


def from_repository(
    name: str,
    about: str,
    module: Path,
    arguments: list[str],
    *,
    toolchain: str | None = None,
    ldflags: str = "-s -w",
) -> Recipe:
    """Builds a package of a Go module that lies in this repository; `arguments` is `build PKG` or `test -c PKG`."""

    def inputs() -> list[bytes]:
        sources = [module / "go.mod", module / "go.sum", *sorted(module.rglob("*.go"))]
        words = [*arguments, ldflags, _version(toolchain)]
        return [word.encode() for word in words] + [part for path in sources for part in _file(module, path)]

    def build(out: Path, log: TextIO) -> None:
        verb, *rest = arguments
        command = [verb, "-trimpath", f"-ldflags={ldflags}", "-o", str(out / name), *rest]
        _go(command, log, module, toolchain)

    return Recipe(name, about, inputs, build, name)


def from_module(name: str, about: str, package: str, version: str, ldflags: str = "-s -w") -> Recipe:
    """Builds a published program exactly as its own module file pins its dependencies."""

    def inputs() -> list[bytes]:
        return [word.encode() for word in (package, version, ldflags, _version(None))]

    def build(out: Path, log: TextIO) -> None:
        _go(["install", "-trimpath", f"-ldflags={ldflags}", f"{package}@{version}"], log, out, None, out)
        built = out / package.rsplit("/", 1)[-1]
        if built.exists() and built.name != name:
            built.rename(out / name)

    return Recipe(name, about, inputs, build, name)


def _file(module: Path, path: Path) -> list[bytes]:
    return [str(path.relative_to(module)).encode(), path.read_bytes()]


def _go(arguments: list[str], log: TextIO, directory: Path, toolchain: str | None, bin_directory: Path | None = None) -> None:
    environment = _environment(toolchain)
    if bin_directory:
        environment["GOBIN"] = str(bin_directory)
    # A build takes minutes of every core; what the developer is doing goes first.
    command = ["nice", "-n", "10", _program(), *arguments]
    log.write(f"+ {' '.join(command)}\n")
    log.flush()
    try:
        result = subprocess.run(command, cwd=directory, env=environment, stdout=log, stderr=log, timeout=BUILD_LIMIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"go {arguments[0]} took more than {BUILD_LIMIT_SECONDS} s; log: {log.name}") from error
    if result.returncode != 0:
        raise BuildError(f"go {arguments[0]} failed; log: {log.name}")


def _environment(toolchain: str | None) -> dict[str, str]:
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    if toolchain:
        environment["GOTOOLCHAIN"] = toolchain
    return environment


def _program() -> str:
    go = shutil.which("go")
    if go is None:
        raise BuildError("no `go` in PATH: install Go 1.26 or newer")
    return go


def _version(toolchain: str | None) -> str:
    if toolchain:
        return toolchain
    command = [_program(), "env", "GOVERSION"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd="/").stdout.strip()
