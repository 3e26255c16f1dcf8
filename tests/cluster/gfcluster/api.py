# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A small client of a cluster's API server, for polling: starting kubectl costs more than the question."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from .plan import Cluster

TIMEOUT_SECONDS = 5.0


class Api:
    """Asks one API server as its administrator."""

    def __init__(self, cluster: Cluster) -> None:
        home = cluster.home / "pki"
        self._address = urlsplit(cluster.api_url)
        self._tls = ssl.create_default_context(cafile=str(home / "ca.crt"))
        self._tls.load_cert_chain(home / "admin.crt", home / "admin.key")

    def ok(self, path: str) -> bool:
        """Whether the path answers 200."""
        return self._request(path)[0] == 200

    def get(self, path: str) -> dict[str, Any]:
        """The object at the path; empty when there is none or no answer."""
        status, body = self._request(path)
        return json.loads(body) if status == 200 else {}

    def text(self, path: str) -> str:
        """The answer as it came, whatever its status."""
        return self._request(path)[1].decode(errors="replace")

    def has_condition(self, path: str, kind: str) -> bool:
        """Whether the object's status has the condition with status True."""
        conditions = self.get(path).get("status", {}).get("conditions", [])
        return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)

    def _request(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            self._address.hostname or "", self._address.port, timeout=TIMEOUT_SECONDS, context=self._tls
        )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error).encode()
        finally:
            connection.close()
