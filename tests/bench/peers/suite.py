# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: all peers side by side in one run, in interleaved rounds; ratios of the same round, so that slow spells of the machine
cancel out. Writes target/reports/bench.json: test -> peer -> rps, cpu_100k, p50, p99, p999, mem_mib (medians; microseconds; CPU
seconds for 100,000 requests)."""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.peers import change, profile
from bench.peers.configs import Setting
from bench.peers.loads import Figures, Loads, idle_kib
from bench.peers.plan import TESTS, Test
from bench.peers.process import Process, cores, free_port, head, machine, open_files, until
from bench.peers.proxies import NAMES, Programs, Proxy, tool
from bench.peers.tables import idle_table, ratios, table
from runner.report import REPORTS, ROOT, Result

IDLE = 10_000
SIZES = (10, 10_000, 100_000)
# nginx would take minutes to reload 100,000 servers a few times over.
LARGEST_NGINX = 10_000


def run(arguments: list[str]) -> Result:
    """The suite."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=")
    parser.add_argument("--quick", action="store_true", help="short: one round, fewer connections and routes")
    parser.add_argument("--tests", default="", help="names, comma-separated (idle and change are two of them)")
    parser.add_argument("--peers", default="", help="names, comma-separated")
    parser.add_argument("--build", default="", help="cargo profile: release (what is shipped), or quick, also with --quick")
    parser.add_argument("--no-build", action="store_true", help="measure what is built")
    parser.add_argument("--profile", action="store_true", help="perf's view of the gateway under each load too")
    options = parser.parse_args(arguments)
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = Result()
    programs = build(options.build or ("quick" if options.quick else "release"), options.no_build)
    connections = (open_files() - 500) // 2
    work = Path(tempfile.mkdtemp(prefix="gatefleet-bench-"))
    bench = Bench(work, programs, options, result, connections)
    try:
        bench.everything()
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    result.figures.update(bench.medians)
    for line in bench.notes:
        result.notes.append(line)
    return result


def build(cargo_profile: str, built: bool) -> Programs:
    """The programs, built where they are not."""
    for name in ("nginx", "haproxy", "wrk", "h2load", "openssl", "gcc"):
        if not shutil.which(tool(name)):
            raise RuntimeError(f"{name} is missing: tests/setup/setup.sh --bench installs it")
    if not built:
        subprocess.run(["cargo", "build", "--quiet", "--profile", cargo_profile, "-p", "gateway", "-p", "bench"], cwd=ROOT, check=True)
    envoy = subprocess.run([ROOT / "tests/setup/tool", "envoy"], capture_output=True, text=True, check=True).stdout.strip()
    folder = ROOT / "target" / cargo_profile
    floor = folder / "gatefleet-bench-floor"
    subprocess.run(["gcc", "-O2", "-o", floor, ROOT / "tests/bench/floor.c"], check=True)
    return Programs(folder / "gatefleet-gateway", folder / "gatefleet-bench", Path(envoy), floor)


class Bench:
    """One run."""

    def __init__(
        self, work: Path, programs: Programs, options: argparse.Namespace, result: Result, connections: int
    ) -> None:
        self.work, self.programs, self.options, self.result = work, programs, options, result
        self.loads = Loads(work, programs.bench)
        self.peers = options.peers.split(",") if options.peers else ["relay", *NAMES]
        self.wanted = options.tests.split(",") if options.tests else [*(t.name for t in TESTS), "idle", "change"]
        self.rounds: dict[str, dict[str, list[Figures]]] = {}
        self.medians: dict[str, object] = {}
        self.notes: list[str] = []
        self.connections = connections
        self.setting, self.origins = self.prepare()

    def prepare(self) -> tuple[dict[str, Setting], list[Process]]:
        """The certificate and the origins."""
        certificate, key, both = (self.work / name for name in ("crt.pem", "key.pem", "both.pem"))
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        subprocess.run([*command, *subject, *leaf, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        both.write_text(certificate.read_text() + key.read_text())
        small, large, grpc = (free_port() for _ in range(3))
        core = cores()[0]
        floor, bench = str(self.programs.floor), str(self.programs.bench)
        origins = [
            Process([floor, "upstream", str(small), "1024"], core, self.work / "small.log"),
            Process([floor, "upstream", str(large), str(1 << 20)], core, self.work / "large.log"),
            Process([bench, "grpc-origin", f"127.0.0.1:{grpc}", "64"], core, self.work / "grpc.log"),
        ]
        until("the origins start", lambda: all(b" 200 " in head(port) for port in (small, large)), 20, *origins)
        setting = Setting(self.work, 0, 0, small, grpc, certificate, key, both, connections=self.connections)
        return {"small": setting, "large": dataclasses.replace(setting, upstream=large)}, origins

    def everything(self) -> None:
        """All tests that are wanted, each with its table."""
        print(f"load on core {cores()[0]}, proxy with one worker on core {cores()[1]}; medians of interleaved rounds", flush=True)
        for test in TESTS:
            if test.name in self.wanted:
                self.one(test)
                print(table(test, self.rounds.get(test.name, {})), flush=True)
        if "idle" in self.wanted:
            self.idle()
        if "change" in self.wanted:
            self.change()
        self.keep()
        for line in ratios(self.medians):
            self.notes.append(line)
        print("\n### Ratios\n\n" + "\n".join(f"- {line}" for line in self.notes), flush=True)

    def one(self, test: Test) -> None:
        """One test: all peers up, then rounds over all of them."""
        hosts = min(test.hosts, 1000) if self.options.quick else test.hosts
        setting = dataclasses.replace(self.setting[test.origin], hosts=hosts)
        running = {}
        for name in test.peers:
            if name in self.peers:
                kind = "bare-grpc" if (name, test.name) == ("bare", "grpc") else name
                if name == "bare" and hosts:
                    continue
                started = self.guarded(f"{test.name} {name} starts", lambda k=kind: Proxy(k, setting, self.programs))
                if started:
                    running[name] = started
        try:
            for number in range(1 if self.options.quick else test.rounds):
                for name, proxy in list(running.items()):
                    figures = self.guarded(f"{test.name} {name}", lambda p=proxy: self.measured(test, p))
                    if figures:
                        self.rounds.setdefault(test.name, {}).setdefault(name, []).append(figures)
                        show(test.name, number, name, figures)
            if self.options.profile and "gatefleet" in running:
                self.guarded("profile", lambda: profile.take(test, running["gatefleet"], self.loads))
        finally:
            for proxy in running.values():
                proxy.stop()

    def measured(self, test: Test, proxy: Proxy) -> Figures:
        """A load with the proxy's CPU and memory; `steal` is what others used of the machine meanwhile."""
        seconds = 2.0 if self.options.quick else test.seconds
        processes = [proxy.process, *self.origins]
        own = sum(time_of_children())
        busy, total = machine()
        before, begun = [p.cpu_seconds() for p in processes], time.monotonic()
        figures = test.run(self.loads, proxy, seconds)
        wall = time.monotonic() - begun
        spent = [p.cpu_seconds() - b for p, b in zip(processes, before, strict=True)]
        busy_after, total_after = machine()
        mine = sum(spent) + sum(time_of_children()) - own
        figures["cpu_100k"] = spent[0] / max(figures["n"], 1) * 1e5
        figures["busy"] = spent[0] / wall
        figures["steal"] = max(0.0, (busy_after - busy - mine) / max(total_after - total, 0.01))
        figures["mem_mib"] = proxy.process.memory_kib() / 1024
        return figures

    def idle(self) -> None:
        """Memory of connections that wait, plain and over TLS; each in a fresh process."""
        count = 1000 if self.options.quick else min(IDLE, self.connections)
        for tls in (False, True):
            test = "idle_tls" if tls else "idle_plain"
            for name in [n for n in NAMES if n in self.peers]:
                figures = self.guarded(f"{test} {name}", lambda n=name, t=tls: self.idle_one(n, count, tls=t))
                if figures:
                    self.rounds.setdefault(test, {})[name] = [figures]
                    show(test, 0, name, figures)
        print(idle_table(self.rounds, count), flush=True)

    def idle_one(self, name: str, count: int, *, tls: bool) -> Figures:
        """One peer."""
        proxy = Proxy(name, self.setting["small"], self.programs)
        try:
            start = proxy.process.memory_kib() / 1024
            kib = idle_kib(proxy, count, tls=tls)
            return dict(kib_per_connection=kib, start_mib=start, mem_mib=proxy.process.memory_kib() / 1024)
        finally:
            proxy.stop()

    def change(self) -> None:
        """One host added among many."""
        for size in SIZES[:2] if self.options.quick else SIZES:
            test = f"change_{size}"
            for name in [n for n in NAMES if n in self.peers and n != "bare"]:
                if name == "nginx" and size > LARGEST_NGINX:
                    continue
                figures = self.guarded(f"{test} {name}", lambda n=name, s=size: self.change_one(n, s))
                if figures:
                    self.rounds.setdefault(test, {})[name] = [figures]
                    show(test, 0, name, figures)
            about = f"one host added to {size:,} (rps: changes per second)"
            print(table(Test(test, about, TESTS[0].run, 0, 1), self.rounds.get(test, {})), flush=True)

    def change_one(self, name: str, size: int) -> Figures:
        """One peer."""
        proxy = Proxy(name, dataclasses.replace(self.setting["small"], hosts=size), self.programs)
        try:
            few = self.options.quick or (size > 10_000 and name == "envoy")
            return change.measure(proxy, 3 if few else 15)
        finally:
            proxy.stop()

    def guarded(self, what: str, step):  # noqa: ANN001, ANN201
        """A step that fails counts as one failure; the others go on."""
        try:
            value = step()
        except (RuntimeError, OSError, subprocess.SubprocessError, ValueError) as why:
            self.result.check(what, False, str(why)[-500:])
            return None
        if isinstance(value, dict):
            errors = value.get("errors", 0.0)
            enough = errors <= value.get("n", 0.0) / 1000
            self.result.check(what, enough, "" if enough else f"{errors:.0f} requests failed")
        return value

    def keep(self) -> None:
        """Medians by test and peer, and every round beside them."""
        for test, peers in self.rounds.items():
            self.medians[test] = {
                name: {key: round(median(r[key] for r in rounds), 4) for key in rounds[0]} for name, rounds in peers.items()
            }
        REPORTS.mkdir(parents=True, exist_ok=True)
        (REPORTS / "bench-rounds.json").write_text(json.dumps(self.rounds, indent=1) + "\n")

    def stop(self) -> None:
        """Ends the origins."""
        for origin in self.origins:
            origin.stop()


def time_of_children() -> tuple[float, float]:
    """CPU seconds of ended children, and of this process."""
    t = os.times()
    return t.children_user + t.children_system, t.user + t.system


def show(test: str, number: int, name: str, figures: Figures) -> None:
    """A round's figures on one line."""
    text = "  ".join(f"{key} {value:,.2f}" for key, value in figures.items() if key != "n")
    print(f"  {test} #{number + 1} {name}: {text}", file=sys.stderr, flush=True)
