# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""What clusters put on a machine, to be compared before and after."""

import os
import re
from pathlib import Path

from gfcluster import plan
from gfcluster.process import run

OURS = re.compile(r"gatefleet|gf-")


def snapshot() -> dict[str, set[str]]:
    """Everything of the machine that a cluster may leave behind, by kind."""
    return {
        "processes": _processes(),
        "mounts": {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()},
        "network namespaces": set(os.listdir("/run/netns")) if Path("/run/netns").exists() else set(),
        "links": {line.split(": ")[1].split("@")[0] for line in run("ip", "-o", "link").splitlines()},
        "addresses": {line.split()[3] for line in run("ip", "-o", "address").splitlines()},
        "routes": set(run("ip", "route").splitlines()),
        "firewall rules": set(run("nft", "list", "ruleset").splitlines()),
        "cgroups": {str(path) for path in Path("/sys/fs/cgroup").glob("**/gf-*")},
        "forwarding": {Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()},
        "runtime files": {str(path) for path in plan.RUNTIME.glob("**/*")},
        "sockets of shims": {str(path) for path in Path("/run/containerd/s").glob("*")},
        "network addresses of pods": {str(path) for path in Path("/var/lib/cni").glob("**/*")},
    }


def difference(before: dict[str, set[str]], after: dict[str, set[str]]) -> list[str]:
    """What is there now and was not before, or the other way round, one line each."""
    lines = []
    for kind, old in before.items():
        lines += [f"{kind}: left behind {entry}" for entry in sorted(after[kind] - old)]
        # Other programs' mounts and processes come and go; the forwarding switch and the routes are ours to put back.
        if kind in ("forwarding", "routes", "addresses", "firewall rules"):
            lines += [f"{kind}: lost {entry}" for entry in sorted(old - after[kind])]
    return lines


def _processes() -> set[str]:
    """Processes that run our binaries or from our directories; the machine's other users start theirs meanwhile."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            place = os.readlink(entry / "cwd")
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = place.startswith((str(plan.RUNTIME), str(plan.STATE))) or OURS.search((entry / "cgroup").read_text())
        if ours or any(str(plan.RUNTIME).encode() in word for word in words):
            found.add(f"{entry.name} {b' '.join(words[:3]).decode(errors='replace')}")
    return found
