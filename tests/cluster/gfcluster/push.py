# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Pushes images to a registry with the OCI distribution protocol."""

import http.client
from urllib.parse import urljoin, urlsplit

from . import plan
from .oci import Blob, Image
from .process import HarnessError

LIMIT_SECONDS = 60.0


def push(image: Image, reference: str) -> str:
    """Pushes the image and returns its reference with its digest."""
    host, repository, tag = split(reference)
    registry = _Registry(host)
    for blob in image.blobs():
        registry.put_blob(repository, blob)
    registry.put_manifest(repository, tag, image.manifest)
    return f"{host}/{repository}@{image.manifest.digest}"


def split(reference: str) -> tuple[str, str, str]:
    """Host, repository and tag of `host/repository:tag`."""
    host, slash, rest = reference.partition("/")
    repository, colon, tag = rest.rpartition(":")
    if not slash or not colon or not repository or not ("." in host or ":" in host):
        raise HarnessError(f"{reference!r} is not of the form HOST/REPOSITORY:TAG")
    return host, repository, tag


class _Registry:
    def __init__(self, host: str) -> None:
        # The registry's name is known to the clusters only.
        self._address = plan.REGISTRY if host == plan.REGISTRY_NAME else host

    def put_blob(self, repository: str, blob: Blob) -> None:
        if self._ask("HEAD", f"/v2/{repository}/blobs/{blob.digest}", (200, 404))[0] == 200:
            return
        _, headers = self._ask("POST", f"/v2/{repository}/blobs/uploads/", (202,))
        target = urlsplit(urljoin(f"http://{self._address}/", headers["Location"]))
        query = f"{target.query}&" if target.query else ""
        self._ask("PUT", f"{target.path}?{query}digest={blob.digest}", (201,), blob.content, "application/octet-stream")

    def put_manifest(self, repository: str, tag: str, manifest: Blob) -> None:
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", (201,), manifest.content, manifest.kind)

    def _ask(
        self, method: str, path: str, accepted: tuple[int, ...], body: bytes | None = None, kind: str | None = None
    ) -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self._address, timeout=LIMIT_SECONDS)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": kind} if kind else {})
            response = connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise HarnessError(f"the registry at {self._address} does not answer: {error}; is it up?") from error
        finally:
            connection.close()
        if response.status not in accepted:
            raise HarnessError(f"{method} {self._address}{path} answered {response.status}: {said[:300].decode(errors='replace')}")
        return response.status, response.headers
