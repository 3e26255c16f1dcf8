# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A real API server with its database as plain processes on loopback, and a client that keeps its connections."""
from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

START_LIMIT_SECONDS = 90.0
REQUEST_LIMIT_SECONDS = 60.0
# The server closes connections that nobody uses.
IDLE_SECONDS = 30.0
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class BenchError(Exception):
    """The benchmark cannot go on; says why."""


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, limit: float, condition: Callable[[], bool], pause: float = 0.1) -> None:
    """Waits until something is so, at most `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"waited {limit:.0f} s for {what}")
        time.sleep(pause)


def end(process: subprocess.Popen[bytes], grace: float = 10) -> None:
    """Ends one process that we started, gently first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


class ApiServer:
    """etcd and kube-apiserver in a folder."""

    def __init__(self, hyper: Path, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.kubeconfig = folder / "kubeconfig"
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name in ("etcd", "kube-apiserver"):
            (self._bin / name).symlink_to(hyper)
        self._running: list[subprocess.Popen[bytes]] = []
        self._certificates()
        self.context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self.context.load_cert_chain(folder / "admin.crt", folder / "admin.key")

    def start(self) -> None:
        """Starts both and waits until the API server is ready."""
        client, peer = free_port(), free_port()
        database = f"http://127.0.0.1:{client}"
        self._spawn(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={database}",
            f"--advertise-client-urls={database}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            # As in the test clusters: a database that waits for a disk measures the disk.
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._spawn("kube-apiserver", *self._arguments(database))
        wait_for("the API server to be ready", START_LIMIT_SECONDS, self._ready, 0.3)

    def stop(self) -> None:
        """Ends both, the database last."""
        for process in reversed(self._running):
            end(process)

    def pids(self) -> list[int]:
        """Process ids of both."""
        return [process.pid for process in self._running]

    def client(self) -> "Client":
        """A client with a connection of its own."""
        return Client(self.port, self.context)

    def _ready(self) -> bool:
        for process in self._running:
            if process.poll() is not None:
                name = Path(str(process.args[0])).name if isinstance(process.args, list) else "server"
                words = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise BenchError(f"{name} ended: {words}")
        try:
            return self.client().request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [str(self._bin / name), *arguments]
            self._running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))

    def _arguments(self, database: str) -> list[str]:
        file = lambda name: str(self.folder / name)  # noqa: E731
        return [
            f"--etcd-servers={database}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.209.0.0/16",
            f"--client-ca-file={file('ca.crt')}",
            f"--tls-cert-file={file('api.crt')}",
            f"--tls-private-key-file={file('api.key')}",
            f"--service-account-key-file={file('accounts.key')}",
            f"--service-account-signing-key-file={file('accounts.key')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            # Nobody makes ServiceAccounts here: there is no controller manager.
            "--disable-admission-plugins=ServiceAccount",
        ]

    def _certificates(self) -> None:
        openssl("req", "-x509", *NEW_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=bench", "-days", "2", folder=self.folder)
        openssl("genrsa", "-out", "accounts.key", "2048", folder=self.folder)
        self._issue("api", "/CN=kube-apiserver", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._issue("admin", "/O=system:masters/CN=admin", "")
        encoded = {n: base64.b64encode((self.folder / n).read_bytes()).decode() for n in ("ca.crt", "admin.crt", "admin.key")}
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": encoded["ca.crt"]}
        user = {"client-certificate-data": encoded["admin.crt"], "client-key-data": encoded["admin.key"]}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "admin"}}],
            "current-context": "bench",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(document))

    def _issue(self, name: str, subject: str, names: str) -> None:
        openssl("req", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject, folder=self.folder)
        (self.folder / f"{name}.ext").write_text(f"{names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *authority, "-days", "2", "-out", f"{name}.crt", folder=self.folder)


def openssl(*arguments: str, folder: Path) -> None:
    """Runs openssl in a folder."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise BenchError(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace')}")


class Client:
    """One kept connection. Not for several threads."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=REQUEST_LIMIT_SECONDS, context=context)
        self._used = time.monotonic()

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        """One request; status and body."""
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        headers = {"content-type": kind} if body is not None else {}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self._used = time.monotonic()
        return answer.status, content

    def send(self, method: str, path: str, body: object, kind: str = "application/json") -> None:
        """One write; anything but success ends the benchmark."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.request(method, path, data, kind)
        if status >= 300:
            raise BenchError(f"{method} {path}: {status} {answer.decode(errors='replace')[:500]}")

    def apply(self, path: str, yaml: bytes) -> None:
        """Server-side apply of one document."""
        self.send("PATCH", f"{path}?fieldManager=bench&force=true", yaml, "application/apply-patch+yaml")

    def get(self, path: str) -> dict[str, object]:
        """Reads one object."""
        status, answer = self.request("GET", path)
        if status != 200:
            raise BenchError(f"GET {path}: {status}")
        found = json.loads(answer)
        if not isinstance(found, dict):
            raise BenchError(f"GET {path}: no object")
        return found

    def stream(self, path: str) -> http.client.HTTPResponse:
        """An answer that is read piece by piece."""
        self._connection.request("GET", path)
        return self._connection.getresponse()

    def close(self) -> None:
        """Ends the connection, also under a reader in another thread."""
        if self._connection.sock is not None:
            try:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                os.sched_yield()
        self._connection.close()
