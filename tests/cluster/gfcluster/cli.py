# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of `tests/cluster/cluster`."""

import argparse
import json
import os
import sys
from pathlib import Path

from . import images, lifecycle, network, plan, registry, tools
from .api import Api
from .control_plane import ControlPlane
from .node import Node
from .process import HarnessError


def main(arguments: list[str]) -> int:
    """Runs one command."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (HarnessError, ValueError) as error:
        _say(f"error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description="Real Kubernetes clusters on this machine; see tests/cluster/README.md.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    command = verbs.add_parser("up", help="start the first N clusters and the registry (0: only the registry)")
    command.add_argument("count", type=int, metavar="N")
    command.add_argument("--keep", action="store_true", help="on failure leave everything as it is")
    command.set_defaults(run=_up)
    verbs.add_parser("down", help="end everything").set_defaults(run=_down)
    command = verbs.add_parser("status", help="what runs; exit code 1 if something is missing")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_status)
    for name, about, function in (
        ("kubeconfig", "print the path of a cluster's kubeconfig", _kubeconfig),
        ("stop-api", "end the API server and etcd of a cluster at once; traffic goes on", _stop_api),
        ("start-api", "start them again, with their data", _start_api),
        ("cut", "drop all traffic between a cluster and the rest, silently", _cut),
        ("heal", "undo cut", _heal),
    ):
        command = verbs.add_parser(name, help=about)
        command.add_argument("name", metavar="NAME")
        command.set_defaults(run=function)
    command = verbs.add_parser("logs", help="print a server's log, or where all logs are")
    command.add_argument("name", metavar="NAME")
    command.add_argument("server", nargs="?", metavar="SERVER")
    command.set_defaults(run=_logs)
    command = verbs.add_parser("kubectl", help="run kubectl on a cluster")
    command.add_argument("name", metavar="NAME")
    command.add_argument("arguments", nargs=argparse.REMAINDER)
    command.set_defaults(run=_kubectl)
    command = verbs.add_parser("load-image", help="put the images of an archive into the nodes of all clusters")
    command.add_argument("archive", type=Path)
    command.set_defaults(run=_load_image)
    command = verbs.add_parser("images", help="build and push gatefleet/gatefleet and gatefleet/gateway from a directory of programs")
    command.add_argument("directory", type=Path, metavar="BIN_DIR")
    command.add_argument("--tag", default="dev")
    command.set_defaults(run=_images)
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _up(options: argparse.Namespace) -> None:
    seconds = lifecycle.up(options.count, _say, options.keep)
    print(f"{options.count} clusters ready in {seconds:.1f} s; registry at {plan.REGISTRY} ({plan.REGISTRY_NAME} in the clusters)")


def _down(_: argparse.Namespace) -> None:
    lifecycle.down(_say)


def _status(options: argparse.Namespace) -> int:
    clusters = plan.existing()
    document: dict[str, object] = {"registry": registry.answers(), "clusters": {cluster.name: _state(cluster) for cluster in clusters}}
    whole = registry.answers() and bool(clusters) and all(all(_state(cluster).values()) for cluster in clusters)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print(f"registry {plan.REGISTRY}: {'up' if registry.answers() else 'down'}")
        for cluster in clusters:
            missing = [name for name, good in _state(cluster).items() if not good]
            print(
                f"{cluster.name}: {'ready' if not missing else 'missing: ' + ', '.join(missing)}; {cluster.api_url}, pods {cluster.pods}, "
                f"services {cluster.services}, load balancers {cluster.load_balancers}"
            )
    return 0 if whole else 1


def _state(cluster: plan.Cluster) -> dict[str, bool]:
    servers = [*ControlPlane(cluster).servers(), *Node(cluster).servers()]
    state = {server.name: server.alive() for server in servers}
    ready = (cluster.home / "pki" / "admin.key").exists() and Api(cluster).has_condition(f"/api/v1/nodes/{cluster.name}", "Ready")
    return state | {"node": ready}


def _kubeconfig(options: argparse.Namespace) -> None:
    print(_running(options.name).kubeconfig)


def _stop_api(options: argparse.Namespace) -> None:
    ControlPlane(_running(options.name)).stop_api()


def _start_api(options: argparse.Namespace) -> None:
    ControlPlane(_running(options.name)).start_api()


def _cut(options: argparse.Namespace) -> None:
    network.cut(_running(options.name))


def _heal(options: argparse.Namespace) -> None:
    network.heal(_running(options.name))


def _logs(options: argparse.Namespace) -> None:
    directory = plan.cluster(options.name).logs
    if not options.server:
        for path in sorted(directory.glob("*")):
            print(path)
        return
    path = directory / f"{options.server}.log"
    if not path.exists():
        raise HarnessError(f"there is no log {path}")
    sys.stdout.write(path.read_text(errors="replace"))


def _kubectl(options: argparse.Namespace) -> None:
    cluster = _running(options.name)
    kubectl = tools.kubernetes("kubectl")
    os.execv(kubectl, ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *options.arguments])


def _load_image(options: argparse.Namespace) -> None:
    for cluster in plan.existing():
        Node(cluster).load_image(options.archive)


def _images(options: argparse.Namespace) -> None:
    for reference in images.publish_project(options.directory, options.tag).values():
        print(reference)


def _running(name: str) -> plan.Cluster:
    cluster = plan.cluster(name)
    if cluster not in plan.existing():
        raise HarnessError(f"{name} is not up")
    return cluster
