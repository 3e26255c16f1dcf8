# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A small proxy-wasm plugin as an OCI artifact in the test registry."""
from __future__ import annotations

import http.client
import json
import subprocess
from hashlib import sha256

from e2e.world import World
from runner.report import ROOT

REPOSITORY = "plugins/stamp"
SOURCE = ROOT / "tests" / "e2e" / "stamp.wat"


def publish(world: World) -> str:
    """Compiles the plugin's text and pushes it; returns its reference with digest, as the clusters reach it."""
    built = ROOT / "target" / "e2e-stamp.wasm"
    done = subprocess.run(["wat2wasm", str(SOURCE), "-o", str(built)], capture_output=True, text=True, timeout=60, check=False)
    if not world.result.check("the plugin compiles", done.returncode == 0, done.stderr.strip()):
        return ""
    registry = next(iter(world.images.values())).split("/")[0]
    layer = built.read_bytes()
    config = b"{}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.module.wasm.config.v1+json", config),
            "layers": [descriptor("application/vnd.module.wasm.content.layer.v1+wasm", layer)],
        }
    ).encode()
    for blob in (config, layer):
        upload(blob)
    call("PUT", f"/v2/{REPOSITORY}/manifests/v1", manifest, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, 201)
    return f"{registry}/{REPOSITORY}@{digest(manifest)}"


def digest(data: bytes) -> str:
    """A digest as OCI writes it."""
    return f"sha256:{sha256(data).hexdigest()}"


def descriptor(media_type: str, data: bytes) -> dict[str, object]:
    """An OCI descriptor."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def upload(blob: bytes) -> None:
    """Pushes one blob."""
    location = call("POST", f"/v2/{REPOSITORY}/blobs/uploads/", b"", {}, 202)
    path = location.split("://", 1)[-1]
    path = path[path.index("/") :]
    mark = "&" if "?" in path else "?"
    call("PUT", f"{path}{mark}digest={digest(blob)}", blob, {"Content-Type": "application/octet-stream"}, 201)


def call(method: str, path: str, body: bytes, headers: dict[str, str], expected: int) -> str:
    """One request to the registry; yields the Location header."""
    from gfcluster import plan

    connection = http.client.HTTPConnection(plan.REGISTRY, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != expected:
            raise RuntimeError(f"registry: {method} {path}: {response.status} {text[:200]!r}")
        return response.getheader("Location") or ""
    finally:
        connection.close()
