# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the gateway spends its time under a load, by perf: stacks folded into one line each, and the functions by their own share."""
from __future__ import annotations

import shutil
import subprocess
from collections import Counter

from bench.peers.loads import Loads
from bench.peers.plan import Test
from bench.peers.proxies import Proxy
from runner.report import REPORTS

SECONDS = 4.0


def take(test: Test, proxy: Proxy, loads: Loads) -> None:
    """Writes target/reports/profile-TEST.folded and profile-TEST.txt."""
    if not shutil.which("perf"):
        raise RuntimeError("perf is missing: the package linux-perf brings it")
    data = loads.folder / "perf.data"
    command = ["perf", "record", "-q", "-F", "1999", "-g", "-e", "cpu-clock", "-p", str(proxy.process.pid), "-o", str(data)]
    recorder = subprocess.Popen([*command, "--", "sleep", str(SECONDS)], stderr=subprocess.DEVNULL)
    try:
        test.run(loads, proxy, SECONDS + 1)
    finally:
        recorder.wait(30)
    script = ["perf", "script", "-i", str(data), "-F", "comm,ip,sym"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    folded: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        frames = [line.strip().split(" ", 1)[-1] for line in lines[1:]]
        if frames:
            folded[";".join([lines[0].strip(), *reversed(frames)])] += 1
            own[frames[0]] += 1
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / f"profile-{test.name}.folded").write_text("".join(f"{stack} {count}\n" for stack, count in folded.most_common()))
    total = sum(own.values()) or 1
    rows = (f"{count / total:7.2%}  {name}\n" for name, count in own.most_common(80))
    (REPORTS / f"profile-{test.name}.txt").write_text("".join(rows))
