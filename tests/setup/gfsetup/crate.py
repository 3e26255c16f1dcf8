# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes that build a published Rust program exactly as its own lock file pins its dependencies, or take files out of a package."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TextIO

from .cache import BuildError, Recipe, root

BUILD_LIMIT_SECONDS = 3600
# Fat link-time optimisation doubles the build and gains nothing in a tool that runs for seconds.
PROFILE = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1", "CARGO_PROFILE_RELEASE_DEBUG": "0"}


def from_crate(name: str, about: str, package: str, version: str) -> Recipe:
    """Builds and strips the program `name` of a package of the Rust registry."""

    def inputs() -> list[bytes]:
        return [word.encode() for word in (package, version, *PROFILE, *PROFILE.values())]

    def build(out: Path, log: TextIO) -> None:
        target = root() / "build" / name
        # A build takes minutes of every core; what the developer is doing goes first.
        command = ["nice", "-n", "15", _program(), "install", f"{package}@{version}", "--locked", "--no-track"]
        command += ["--root", str(out), "--target-dir", str(target)]
        log.write(f"+ {' '.join(command)}\n")
        log.flush()
        # Outside the work tree, so that its toolchain file and its settings do not act here.
        limits = {"stdout": log, "stderr": log, "timeout": BUILD_LIMIT_SECONDS}
        try:
            done = subprocess.run(command, cwd=out, env=os.environ | PROFILE, stdin=subprocess.DEVNULL, **limits)
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"cargo install {package} took more than {BUILD_LIMIT_SECONDS} s; log: {log.name}") from error
        if done.returncode != 0:
            raise BuildError(f"cargo install {package} failed; log: {log.name}")
        (out / "bin" / name).rename(out / name)
        (out / "bin").rmdir()
        shutil.rmtree(target, ignore_errors=True)

    return Recipe(name, about, inputs, build, name)


def _program() -> str:
    cargo = shutil.which("cargo")
    if cargo is None:
        raise BuildError("no `cargo` in PATH: install Rust 1.95 or newer")
    return cargo


def files_of_crate(name: str, about: str, package: str, version: str, folder: str, product: str) -> Recipe:
    """Takes the files of `folder` out of a package's source; nothing of it is built."""

    def build(out: Path, log: TextIO) -> None:
        manifest = f'[package]\nname = "files"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n{package} = "={version}"\n'
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "src").mkdir()
            (Path(scratch) / "src" / "lib.rs").touch()
            (Path(scratch) / "Cargo.toml").write_text(manifest)
            command = [_program(), "vendor", "--quiet", "vendor"]
            done = subprocess.run(command, cwd=scratch, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=600)
            if done.returncode != 0:
                raise BuildError(f"cargo vendor of {package} failed; log: {log.name}")
            for path in (Path(scratch) / "vendor" / package / folder).iterdir():
                shutil.copy(path, out / path.name)

    return Recipe(name, about, lambda: [word.encode() for word in (package, version, folder)], build, product)
