# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""cargo-deny: licences, duplicates, sources; advisories from the network, or from a local copy of the database."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from runner.process import CACHE, run as command
from runner.report import ROOT, Result

# How cargo-deny calls the folder of https://github.com/rustsec/advisory-db below its `db-path`.
DATABASE = "advisory-db-3157b0e258782691"
CONFIG = ROOT / "deny.toml"
# For machines without network.
KEPT = ROOT / "tests" / "setup" / "advisory-db"
# Older copies are still worth reading where there is no network; their date is told.
STALENESS = "P2Y"


def check(result: Result) -> None:
    """Every check of cargo-deny; the tool is built when this machine has none."""
    done = command("cargo-deny-tool", ["tests/setup/tool", "cargo-deny"], 3700)
    if not result.check("cargo-deny is there", done.good, "" if done.good else done.tail(5)):
        return
    tool = done.output.rstrip().splitlines()[-1]
    # The graph names crates of all platforms; a build has fetched those of this one only.
    fetched = command("cargo-fetch", ["cargo", "fetch", "--locked", "--quiet"], 600)
    if not result.check("crates of all platforms are there", fetched.good, "" if fetched.good else fetched.tail(5)):
        return
    done = command("cargo-deny", [tool, "--offline", "check", "licenses", "bans", "sources"], 300)
    twice = re.findall(r"found \d+ duplicate entries for crate '(\S+)'", done.output)
    note = f"in two versions: {', '.join(twice)}" if twice else ""
    result.check("cargo deny: licences, bans, sources", done.good, note if done.good else done.tail(40))
    advisories(result, tool)


def advisories(result: Result, tool: str) -> None:
    """Advisories: from the copy that GATEFLEET_ADVISORY_DB names, else from the network, else from the copy in this repository."""
    named = os.environ.get("GATEFLEET_ADVISORY_DB")
    if named is None:
        done = command("cargo-deny-advisories", [tool, "--log-level", "error", "check", "advisories"], 300)
        if done.good or "failed to fetch advisory database" not in done.output:
            result.check("cargo deny: advisories", done.good, "" if done.good else done.tail(40))
            return
    copy = find_copy(Path(named) if named else KEPT)
    if copy is None:
        result.skip("cargo deny: advisories", f"no database in {named or KEPT}")
        return
    config = ROOT / "target" / "deny-offline.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(offline_config(CONFIG.read_text(), database_for(copy)))
    line = [tool, "--offline", "--log-level", "error", "--config", str(config), "check", "advisories"]
    done = command("cargo-deny-advisories", line, 300)
    note = f"no network; database {copy.name}" if done.good else done.tail(40)
    result.check("cargo deny: advisories", done.good, note)


def find_copy(source: Path) -> Path | None:
    """The newest archive in a folder, or the folder itself where it is a checked-out database."""
    if source.is_file() or (source / "crates").is_dir():
        return source
    archives = sorted(source.glob("*.tar.gz")) if source.is_dir() else []
    return archives[-1] if archives else None


def database_for(copy: Path) -> Path:
    """A folder as cargo-deny expects its databases, made once for each copy: unpacked, with a git folder around it."""
    stamp = copy.stat()
    key = hashlib.sha256(f"{copy.resolve()} {stamp.st_size} {stamp.st_mtime_ns}".encode()).hexdigest()[:16]
    home = CACHE / "advisories" / key
    if (home / "complete").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    database = home / DATABASE
    if copy.is_dir():
        shutil.copytree(copy, database)
    else:
        database.mkdir(parents=True)
        with tarfile.open(copy) as archive:
            archive.extractall(database, filter="data")
    # cargo-deny reads only the age of the last fetch from the git folder.
    if not (database / ".git").exists():
        subprocess.run(["git", "init", "--quiet", str(database)], check=True, timeout=60)
    mark = database / ".git" / "FETCH_HEAD"
    mark.touch()
    os.utime(mark, (stamp.st_mtime, stamp.st_mtime))
    (home / "complete").touch()
    return home


def offline_config(text: str, database: Path) -> str:
    """Our configuration with the place of the copy, as old as it may be."""
    settings = f'[advisories]\ndb-path = "{database}"\nmaximum-db-staleness = "{STALENESS}"\n'
    # What was yanked since stands in the registry's index, which cannot be asked here.
    return re.sub(r'(?m)^yanked = .*$', "disable-yank-checking = true", text).replace("[advisories]\n", settings)
