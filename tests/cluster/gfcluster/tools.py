# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the built tools are; what is missing is built on first use (tests/setup/gfsetup)."""

import functools
import os
from pathlib import Path

from gfsetup import cache
from gfsetup.recipes import catalogue

from .plan import STATE
from .process import HarnessError

HYPER_NAMES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "load-balancer",
)


@functools.cache
def path(name: str) -> Path:
    """The path of a tool, built now if it never was."""
    try:
        return cache.obtain(catalogue()[name])
    except cache.BuildError as error:
        raise HarnessError(str(error)) from error


def kubernetes(name: str) -> Path:
    """The path of one server of the one binary, under its own name so that `ps` shows which it is."""
    return STATE / "bin" / name


def link_servers() -> None:
    """Makes those names; first of all, because threads use them."""
    target = path("hyper")
    (STATE / "bin").mkdir(parents=True, exist_ok=True)
    for name in HYPER_NAMES:
        link = kubernetes(name)
        if not link.is_symlink() or Path(os.readlink(link)) != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
