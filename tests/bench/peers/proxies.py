# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The peers as running processes."""
from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.peers import configs
from bench.peers.configs import Setting
from bench.peers.process import Process, cores, free_port, head, until

START_SECONDS = 120.0
NAMES = ("gatefleet", "envoy", "nginx", "haproxy", "bare")


@dataclass(frozen=True)
class Programs:
    """Paths of what is run."""

    gateway: Path
    bench: Path
    envoy: Path
    floor: Path


class Proxy:
    """One running peer."""

    def __init__(self, name: str, setting: Setting, programs: Programs) -> None:
        self.name, self.programs = name, programs
        folder = setting.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.setting = dataclasses.replace(setting, folder=folder, plain=free_port(), tls=free_port())
        self.load_core, self.core = cores()
        self.control: Process | None = None
        self.hosts: list[bytes] = []
        try:
            self.process = self.start()
            first = f"h{setting.hosts - 1}.test" if setting.hosts else "localhost"
            if name != "bare-grpc":
                until(f"{name} starts", lambda: b" 200 " in head(self.setting.plain, first)[:20], START_SECONDS, self.process)
        except Exception:
            self.stop()
            raise

    def start(self) -> Process:
        """Starts it with its configuration."""
        s, make = self.setting, self.launch
        if self.name == "gatefleet":
            return self.gateway()
        if self.name == "envoy":
            self.hosts = configs.envoy_hosts(s)
            (s.folder / "routes.pb").write_bytes(configs.envoy_routes(self.hosts))
            (s.folder / "envoy.yaml").write_text(configs.envoy(s))
            arguments = "--concurrency 1 --disable-hot-restart --log-level error"
            return make([str(self.programs.envoy), "-c", f"{s.folder}/envoy.yaml", *arguments.split()])
        if self.name == "nginx":
            (s.folder / "nginx.conf").write_text(configs.nginx(s))
            return make([tool("nginx"), "-p", str(s.folder), "-c", f"{s.folder}/nginx.conf", "-e", f"{s.folder}/error.log"])
        if self.name == "haproxy":
            for file, text in configs.haproxy(s).items():
                (s.folder / file).write_text(text)
            return make([tool("haproxy"), "-db", "-f", f"{s.folder}/haproxy.cfg"])
        if self.name == "relay":
            return make([str(self.programs.floor), "relay", str(s.plain), str(s.upstream)])
        grpc = self.name == "bare-grpc"
        addresses = [f"127.0.0.1:{port}" for port in (s.plain, s.tls, s.grpc if grpc else s.upstream)]
        more = ["--http2"] if grpc else []
        process = make([str(self.programs.bench), "bare", *addresses, str(s.certificate), str(s.key), *more])
        if grpc:
            until("bare starts", lambda: socket.create_connection(("127.0.0.1", s.tls)).close() or True, 10, process)
        return process

    def launch(self, command: list[str]) -> Process:
        """Starts a program on the proxy's core."""
        return Process(command, self.core, self.setting.folder / "log")

    def gateway(self) -> Process:
        """Our gateway, fed over xDS by a control plane on the load's core."""
        s = self.setting
        pages = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        addresses = {"plain": s.plain, "tls": s.tls, "upstream": s.upstream, "grpc-upstream": s.grpc}
        command = [str(self.programs.bench), "control", "--folder", str(s.folder)]
        for key, port in addresses.items():
            command += [f"--{key}", f"127.0.0.1:{port}"]
        command += ["--certificate", str(s.certificate), "--key", str(s.key), "--pages", *pages]
        command += ["--hosts", str(s.hosts)] if s.hosts else ["--any-host"]
        self.control = Process(command, self.load_core, s.folder / "control.log", pipe=True)
        bootstrap = s.folder / "bootstrap.yaml"
        until("the control plane starts", bootstrap.exists, START_SECONDS, self.control)
        process = self.launch([str(self.programs.gateway), "--bootstrap", str(bootstrap), "--log", "warn"])
        refused = s.folder / "control.log"
        until(
            "the gateway takes its configuration",
            lambda: head(s.plain, f"h{s.hosts - 1}.test" if s.hosts else "localhost")[:12] == b"HTTP/1.1 200",
            START_SECONDS,
            process,
            self.control,
        )
        if "refused" in refused.read_text():
            raise RuntimeError(refused.read_text()[-1000:])
        return process

    def prepare_host(self, number: int) -> Callable[[], None]:
        """Makes ready what adds one more host; calling the result hands it over."""
        domain, folder = f"h{number}.test", self.setting.folder
        if self.name == "gatefleet":
            return lambda: self.control.tell(domain) if self.control else None
        if self.name == "envoy":
            self.hosts.append(configs.envoy_host(f"h{number}", domain))
            (folder / "new.pb").write_bytes(configs.envoy_routes(self.hosts))
            return lambda: os.rename(folder / "new.pb", folder / "routes.pb")
        if self.name == "nginx":
            larger = dataclasses.replace(self.setting, hosts=number + 1)
            (folder / "nginx.conf").write_text(configs.nginx(larger))
            return lambda: os.kill(self.process.pid, signal.SIGHUP)
        return lambda: haproxy_map(folder, domain)

    def stop(self) -> None:
        """Ends it and what belongs to it."""
        for process in (getattr(self, "process", None), self.control):
            if process:
                process.stop()


def haproxy_map(folder: Path, domain: str) -> None:
    """Adds to HAProxy's map over its runtime socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(folder / "sock"))
        s.sendall(f"add map {folder}/hosts.map {domain} up\n".encode())
        s.recv(100)


def tool(name: str) -> str:
    """The path of a distribution's program."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or name
