# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The files of an image around one program: what a distroless base image has, taken from this machine."""

import re
import subprocess
import tempfile
from pathlib import Path

from .oci import File
from .process import HarnessError, run

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)` or `/lib64/ld-linux-x86-64.so.2 (0x...)`
LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
MISSING = re.compile(r"^\s*(\S+) => not found$", re.MULTILINE)


def base() -> list[File]:
    """Users, certificates and a directory for temporary files."""
    files = [
        File("etc/passwd", b"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
        File("etc/group", b"root:x:0:\nnonroot:x:65532:\n"),
        File("etc/nsswitch.conf", b"hosts: files dns\n"),
        File("home/nonroot", None, 0o755),
        File("tmp", None, 0o1777),
    ]
    if CERTIFICATES.exists():
        files.append(File(str(CERTIFICATES).lstrip("/"), CERTIFICATES.read_bytes()))
    return files


def libraries(program: Path) -> list[File]:
    """The loader and shared libraries of a dynamic program; none for a static one."""
    if not program.is_file():
        raise HarnessError(f"there is no program {program}")
    result = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=30)
    if "not a dynamic executable" in result.stderr + result.stdout or "statically linked" in result.stdout:
        return []
    if result.returncode != 0:
        raise HarnessError(f"ldd {program}: {result.stderr.strip()}")
    if missing := MISSING.findall(result.stdout):
        raise HarnessError(f"{program} needs {', '.join(missing)}, which this machine does not have")
    return [File(path.lstrip("/"), Path(path).read_bytes(), 0o755) for path in sorted(set(LIBRARY.findall(result.stdout)))]


def executable(program: Path, destination: str, strip: bool = False) -> File:
    """The program at its place in the image; `strip` takes symbols off a copy."""
    if not program.is_file():
        raise HarnessError(f"there is no program {program}")
    if not strip:
        return File(destination.lstrip("/"), program.read_bytes(), 0o755)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "program"
        run("strip", "-o", copy, program, limit=120)
        return File(destination.lstrip("/"), copy.read_bytes(), 0o755)


def layers_for(program: Path, destination: str, strip: bool = False, extra: list[File] | None = None) -> list[list[File]]:
    """Two layers: what rarely changes, and the program; a registry stores the first only once."""
    return [base() + libraries(program), [executable(program, destination, strip), *(extra or [])]]
