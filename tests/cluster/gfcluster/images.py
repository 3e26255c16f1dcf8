# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The images that every cluster starts with, and the project's own."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from gfsetup import cache

from . import oci, plan, push, rootfs, tools
from .node import SANDBOX_IMAGE

ECHO = "registry.k8s.io/gateway-api/conformance/echo-basic"


@dataclass(frozen=True)
class SystemImage:
    """An image made from a built tool and loaded into every node under the names that manifests use."""

    tool: str
    references: tuple[str, ...]
    user: str = oci.USER


SYSTEM = (
    SystemImage("pause", (SANDBOX_IMAGE,)),
    # Port 53 is privileged; upstream's image runs as root too, with all capabilities dropped but one.
    SystemImage("coredns", ("registry.k8s.io/coredns/coredns:v1.15.0",), "0"),
    SystemImage("metrics-server", ("registry.k8s.io/metrics-server/metrics-server:v0.9.0",)),
    SystemImage("httpbin", ("docker.io/mccutchen/go-httpbin:2.26.0", "docker.io/mccutchen/go-httpbin:v2.26.0")),
    SystemImage("echo-basic", (f"{ECHO}:v0.1.0", f"{ECHO}:v0.2.0")),
)
# What a cluster needs before its first pod; the others may come a moment later.
FIRST = ("pause", "coredns", "metrics-server")


def archive(image: SystemImage) -> Path:
    """The image as an archive; made once per state of its tool."""
    program = tools.path(image.tool)
    recipe = [str(program), image.user, *image.references, Path(oci.__file__).read_text(), Path(rootfs.__file__).read_text()]
    key = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
    path = cache.root() / "images" / f"{image.tool}-{key}.tar"
    if not path.exists():
        # Making one takes a moment; keeping those of every former state takes gigabytes.
        for former in path.parent.glob(f"{image.tool}-{'?' * 16}.tar"):
            former.unlink(missing_ok=True)
        options = oci.Options(entrypoint=(f"/{image.tool}",), user=image.user, labels=_labels(image.tool))
        oci.write_archive(oci.build(rootfs.layers_for(program, f"/{image.tool}"), options), list(image.references), path)
    return path


def archives() -> list[Path]:
    """All system images, the ones needed first in front."""
    return [archive(image) for image in sorted(SYSTEM, key=lambda image: image.tool not in FIRST)]


def publish_project(directory: Path, tag: str) -> dict[str, str]:
    """Builds the project's images from the programs of a directory, pushes them and returns their pinned references."""
    published: dict[str, str] = {}
    for name, program in (("gatefleet", "gatefleet"), ("gateway", "gatefleet-gateway")):
        layers = rootfs.layers_for(directory / program, f"/usr/local/bin/{program}", strip=True)
        options = oci.Options(entrypoint=(f"/usr/local/bin/{program}",), labels=_labels(program))
        published[name] = push.push(oci.build(layers, options), f"{plan.REGISTRY_NAME}/gatefleet/{name}:{tag}")
    (plan.STATE / "images.json").write_text(json.dumps(published, indent=2) + "\n")
    return published


def _labels(title: str) -> dict[str, str]:
    return {"org.opencontainers.image.title": title, "org.opencontainers.image.vendor": "The Gatefleet Authors"}
