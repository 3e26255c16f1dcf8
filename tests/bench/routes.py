# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""`bench-routes`: from the change of one HTTPRoute at the API server to all gateways, with a bare watch as the floor."""
from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import figures, objects
from bench.api_server import ApiServer, BenchError, Client, end, free_port, wait_for
from bench.backend import machine_address
from bench.operator import Operator, cpu_seconds, resident_mib
from bench.programs import Programs, choose, copied, first_answer_seconds
from bench.traffic import Probe
from bench.watch import Watch
from runner.process import LOGS
from runner.report import ROOT, Result

GATEWAYS = 2
PARALLEL = 4
CREATE_LIMIT_SECONDS = 1200.0
SETTLE_LIMIT_SECONDS = 300.0
CHANGE_LIMIT_SECONDS = 20.0
QUIET_SECONDS = 1.5


@dataclass
class Bench:
    """What is running."""

    server: ApiServer
    client: Client
    operator: Operator
    pids: list[int]
    created: int = 0
    made: int = 0

    def value(self) -> str:
        """A header value that was never used."""
        self.made += 1
        return f"v{self.made}"


def run(arguments: list[str]) -> Result:
    """Measures, prints the table, tells which aims were missed."""
    options = parse(arguments)
    result = Result()
    programs = choose(options.profile)
    if programs is None:
        result.check("the programs are built", False, "run `make build` first")
        return result
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="gatefleet-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        here = copied(programs, folder)
        up = first_answer_seconds(here, ROOT / "examples" / "quickstart")
        result.check("`up examples/quickstart --once` answers", up is not None)
        bench = start(here, folder, stack)
        for count in sorted(options.routes):
            row = measure(bench, count, options.changes)
            rows.append(row)
            print(figures.table(rows[-1:]), flush=True)
            lost = row["unacknowledged"]
            result.check(f"{count} routes: every change was acknowledged and answered", lost == 0, f"{lost} were not")
            result.check(f"{count} routes: every answer was a success", row["failed_answers"] == 0, f"{row['failed_answers']} were not")
    tell(result, rows, programs, up, options.changes)
    return result


def tell(result: Result, rows: list[dict[str, object]], programs: Programs, up: float | None, changes: int) -> None:
    """Prints the table and keeps the figures. A missed aim is told, not failed: machines differ."""
    missed = figures.misses(rows)
    print(f"\nprofile {programs.profile}, built {programs.built}; {changes} changes each; ms, ACK and answer above the floor")
    print(figures.table(rows))
    print(f"growth: {figures.growth(rows)}; up to first answer: {up} s")
    result.notes += [f"aim missed (profile {programs.profile}): {line}" for line in missed]
    result.figures = {
        "profile": programs.profile,
        "built": programs.built,
        "changes": changes,
        "gateways": GATEWAYS,
        "rows": rows,
        "growth": figures.growth(rows),
        "up_first_answer_seconds": up,
        "aims_missed": missed,
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """`--profile dev|quick --routes 10,1000,10000 --changes 100`."""
    parser = argparse.ArgumentParser(prog="tests/run bench-routes")
    parser.add_argument("--profile", choices=("dev", "quick"), help="which build (default: quick where it is built, else dev)")
    parser.add_argument("--routes", default=[10, 1000, 10000], type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--changes", default=100, type=int)
    return parser.parse_args(arguments)


def start(programs: Path, folder: Path, stack: ExitStack) -> Bench:
    """API server, backend, operator with gateways."""
    from gfsetup import cache
    from gfsetup.recipes import catalogue

    server = ApiServer(cache.obtain(catalogue()["hyper"]), folder)
    stack.callback(server.stop)
    server.start()
    client = server.client()
    objects.install(client, ROOT)
    address = machine_address()
    port = free_port()
    command = [str(programs / "gatefleet"), "demo-backend", "--listen", f"{address}:{port}", "--name", "bench"]
    backend = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(end, backend)
    objects.create_fleet(client, (address, port))
    operator = Operator(programs, server.kubeconfig, folder)
    stack.callback(keep_log, folder)
    stack.callback(operator.stop)
    try:
        pids = operator.wait_gateways(GATEWAYS, 60)
        wait_for("the gateways' first acknowledgements", 60, lambda: operator.acknowledged(0, GATEWAYS, 0) is not None)
    except BenchError as error:
        words = (folder / "operator.log").read_text(errors="replace")[-3000:]
        raise BenchError(f"{error}; the operator says: {words}") from error
    return Bench(server, client, operator, pids)


def keep_log(folder: Path) -> None:
    """Keeps what the operator warned of."""
    LOGS.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "operator.log", LOGS / "bench-routes-operator.log")


def measure(bench: Bench, count: int, changes: int) -> dict[str, object]:
    """Brings the routes to `count` and changes single ones."""
    row: dict[str, object] = {"routes": count}
    before = writes(bench.client)
    used = (cpu_seconds([bench.operator.process.pid]), cpu_seconds(bench.server.pids()))
    started = time.monotonic()
    create(bench, count)
    row["create_seconds"] = round(time.monotonic() - started, 1)
    probe = settle(bench, count)
    row["settle_seconds"] = round(time.monotonic() - started, 1)
    row["create_cpu_seconds"] = {
        "operator": round(cpu_seconds([bench.operator.process.pid]) - used[0], 2),
        "api_server": round(cpu_seconds(bench.server.pids()) - used[1], 2),
    }
    after = writes(bench.client)
    row["status_writes_create"] = status_writes(after) - status_writes(before)
    row["operator_mib"] = round(resident_mib(bench.operator.process.pid), 1)
    row["gateways_mib"] = round(max(resident_mib(pid) for pid in bench.pids), 1)
    watch = Watch(bench.server)
    try:
        quiet_changes(bench, watch, changes, row)
        answered_changes(bench, watch, probe, changes, row)
    finally:
        watch.close()
        probe.close()
    row["operator_mib_after"] = round(resident_mib(bench.operator.process.pid), 1)
    return row


def create(bench: Bench, count: int) -> None:
    """Creates the missing routes over a few connections."""
    numbers = list(range(bench.created, count))
    failures: list[Exception] = []

    stop = time.monotonic() + CREATE_LIMIT_SECONDS

    def work(mine: list[int]) -> None:
        client = bench.server.client()
        try:
            for number in mine:
                if time.monotonic() > stop:
                    raise BenchError(f"{count} routes were not created in {CREATE_LIMIT_SECONDS:.0f} s: the API server has no CPU left")
                client.send("POST", objects.ROUTES, objects.route(number))
        except (OSError, BenchError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(numbers[i::PARALLEL],)) for i in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    bench.created = count


def settle(bench: Bench, count: int) -> Probe:
    """Waits until the newest routes answer and nobody writes any more."""
    probe: Probe | None = None
    stop = time.monotonic() + SETTLE_LIMIT_SECONDS
    last, since = -1, time.monotonic()
    while time.monotonic() < stop:
        try:
            probe = probe or Probe(bench.pids)
            answers = {c.ask(objects.host_of(number))[0] for c in probe.connections.values() for number in (0, count - 1)}
        except OSError:
            answers = set()
        now = (status_writes(writes(bench.client)), bench.operator.sequence())
        if sum(now) != last or answers != {200}:
            last, since = sum(now), time.monotonic()
        elif time.monotonic() - since > QUIET_SECONDS and probe is not None:
            return probe
        time.sleep(0.3)
    raise BenchError(f"waited {SETTLE_LIMIT_SECONDS:.0f} s for {count} routes to be served and their statuses written")


def quiet_changes(bench: Bench, watch: Watch, changes: int, row: dict[str, object]) -> None:
    """Changes without other traffic: floor, acknowledgements, bytes, CPU, writes."""
    floors, above, totals, lost = [], [], [], 0
    operator = bench.operator
    before = (operator.bytes_sent(), cpu_seconds([operator.process.pid]), cpu_seconds(bench.pids), writes(bench.client))
    for index in range(changes):
        value, sequence = bench.value(), operator.sequence()
        sent = time.time()
        objects.change(bench.client, pick(index, bench.created), value)
        seen = watch.seen(value)
        acknowledged = operator.acknowledged(sequence, GATEWAYS, CHANGE_LIMIT_SECONDS)
        if seen is None or acknowledged is None:
            lost += 1
            continue
        floors.append(seen - sent)
        totals.append(acknowledged - sent)
        above.append(acknowledged - seen)
    wait_quiet(bench)
    after = (operator.bytes_sent(), cpu_seconds([operator.process.pid]), cpu_seconds(bench.pids), writes(bench.client))
    if not floors:
        raise BenchError("no change was acknowledged")
    row.update(floor_ms=figures.spread(floors), ack_ms=figures.spread(above), ack_total_ms=figures.spread(totals), unacknowledged=lost)
    row["bytes_per_change"] = round((after[0] - before[0]) / changes)
    row["operator_cpu_ms"] = round((after[1] - before[1]) * 1000 / changes, 2)
    row["gateways_cpu_ms"] = round((after[2] - before[2]) * 1000 / changes, 2)
    row["status_writes_per_change"] = round((status_writes(after[3]) - status_writes(before[3])) / changes, 2)
    deltas = {key: (number - before[3].get(key, 0)) / changes for key, number in after[3].items()}
    row["writes_per_change"] = {key: round(number, 2) for key, number in sorted(deltas.items()) if number >= 0.01}


def answered_changes(bench: Bench, watch: Watch, probe: Probe, changes: int, row: dict[str, object]) -> None:
    """Changes while a kept connection to each gateway asks without a pause."""
    above, totals, lost, failed = [], [], 0, 0
    for index in range(changes):
        value, number = bench.value(), pick(index + changes, bench.created)
        sent = time.time()
        objects.change(bench.client, number, value)
        answered, errors = probe.until(number, value, CHANGE_LIMIT_SECONDS)
        seen = watch.seen(value)
        failed += errors
        if seen is None or answered is None:
            lost += 1
            continue
        totals.append(answered - sent)
        above.append(answered - seen)
    if not above:
        raise BenchError("no change was answered")
    row.update(answer_ms=figures.spread(above), answer_total_ms=figures.spread(totals), failed_answers=failed)
    row["unacknowledged"] = int(str(row["unacknowledged"])) + lost
    wait_quiet(bench)


def pick(index: int, routes: int) -> int:
    """Routes far from each other, all of them in time."""
    return index * 7919 % routes


def wait_quiet(bench: Bench) -> None:
    """Waits until all that follows from the last change was written."""
    last, since, stop = -1, time.monotonic(), time.monotonic() + 30
    while time.monotonic() - since < 1 and time.monotonic() < stop:
        now = sum(writes(bench.client).values())
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.25)


def writes(client: Client) -> dict[str, int]:
    """Successful writes at the API server so far, by resource, without what it writes itself."""
    status, body = client.request("GET", "/metrics")
    if status != 200:
        raise BenchError(f"GET /metrics: {status}")
    found: dict[str, int] = {}
    for line in body.decode().splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        if labels["verb"] in ("POST", "PUT", "PATCH", "APPLY", "DELETE") and labels["resource"] not in ("leases", "apiservices"):
            name = labels["resource"] + (f"/{labels['subresource']}" if labels.get("subresource") else "")
            key = f"{labels['verb']} {name}" + ("" if labels["code"].startswith("2") else f" {labels['code']}")
            found[key] = found.get(key, 0) + int(float(line.rsplit(" ", 1)[1]))
    return found


def status_writes(counts: dict[str, int]) -> int:
    """Writes of HTTPRoutes' statuses, refused ones included."""
    return sum(number for key, number in counts.items() if "httproutes/status" in key)
