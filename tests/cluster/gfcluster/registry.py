# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The OCI registry of all clusters: Debian's docker-registry (CNCF distribution), on an address of the machine."""

import http.client
import json
import shutil

from . import plan
from .cgroups import Cgroup
from .process import Server, wait_for

START_LIMIT_SECONDS = 15.0

STORAGE = plan.STATE / "registry"
CGROUP = Cgroup("gf-registry")


def server() -> Server:
    """The process."""
    return Server("registry", plan.RUNTIME, plan.LOGS / "registry.log")


def up() -> None:
    """Starts the registry and waits for its first answer."""
    STORAGE.mkdir(parents=True, exist_ok=True)
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(STORAGE)}, "delete": {"enabled": True}},
        "http": {"addr": plan.REGISTRY},
    }
    file = plan.RUNTIME / "registry.yaml"
    file.write_text(json.dumps(configuration) + "\n")
    CGROUP.create()
    process = server()
    process.start(["docker-registry", "serve", file], CGROUP)
    wait_for(f"the registry at {plan.REGISTRY}", answers, START_LIMIT_SECONDS, hint=process.last_words)


def down() -> None:
    """Ends the registry and forgets its images."""
    server().kill()
    CGROUP.kill(5.0)
    CGROUP.remove(5.0)
    shutil.rmtree(STORAGE, ignore_errors=True)


def answers() -> bool:
    """Whether it speaks the distribution API."""
    connection = http.client.HTTPConnection(plan.BRIDGE_ADDRESS, plan.REGISTRY_PORT, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
