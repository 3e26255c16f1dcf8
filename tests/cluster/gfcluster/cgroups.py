# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A cluster's control groups: what kubelet works under, and the one list of every process to end."""

import contextlib
import os
import signal
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# On version 1 each of these is a tree of its own; kubelet insists on finding its root in every one of them.
# `unified` is the version 2 tree that systemd mounts beside them; runc makes groups there too.
VERSION_1 = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "systemd",
    "net_cls",
    "perf_event",
    "unified",
)


class Cgroup:
    """The group `/NAME` in every tree; servers run in its child `servers`, pods in kubelet's `kubepods`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        """Makes the group in every tree."""
        for tree in _trees():
            for directory in (tree / self.name, tree / self.name / "servers"):
                directory.mkdir(exist_ok=True)
                self._prepare(directory)

    def member_files(self) -> list[Path]:
        """The files into which a server writes its pid to belong to the group."""
        return [tree / self.name / "servers" / "cgroup.procs" for tree in _trees()]

    def pids(self) -> set[int]:
        """Every process in the group or below it, in any tree."""
        found: set[int] = set()
        for directory in self.directories():
            try:
                found.update(int(line) for line in (directory / "cgroup.procs").read_text().split())
            except (FileNotFoundError, OSError):
                continue
        # On version 2 a process that is not visible from here reads as 0.
        return found - {0, os.getpid()}

    def directories(self) -> list[Path]:
        """All directories of the group, deepest first."""
        tops = [tree / self.name for tree in _trees() if (tree / self.name).exists()]
        every = [Path(place) for top in tops for place, _, _ in os.walk(top)]
        return sorted(every, key=lambda path: len(path.parts), reverse=True)

    def kill(self, limit: float) -> bool:
        """Ends every process of the group; false when some are left after the limit."""
        deadline = time.monotonic() + limit
        # Processes may fork while the list is read: repeat until it is empty.
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def remove(self, limit: float) -> bool:
        """Removes the emptied directories; false when some are left after the limit."""
        deadline = time.monotonic() + limit
        while directories := self.directories():
            for directory in directories:
                try:
                    directory.rmdir()
                except OSError:
                    # Still busy: the kernel lets go of dead processes a little later.
                    continue
            if self.directories() and time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    @staticmethod
    def _prepare(directory: Path) -> None:
        """A new cpuset of version 1 is empty and takes no process; version 2 hands controllers down only when told."""
        for name in ("cpuset.cpus", "cpuset.mems"):
            own = directory / name
            if own.exists() and (directory.parent / name).exists() and not own.read_text().strip():
                own.write_text((directory.parent / name).read_text())
        available = directory.parent / "cgroup.controllers"
        if available.exists() and directory.name != "servers":
            for name in available.read_text().split():
                # A controller that is refused here (inside a container) is missed by kubelet, which says so better.
                with contextlib.suppress(OSError):
                    (directory.parent / "cgroup.subtree_control").write_text(f"+{name}")


def _trees() -> list[Path]:
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [ROOT / name for name in VERSION_1 if (ROOT / name / "cgroup.procs").exists()]
