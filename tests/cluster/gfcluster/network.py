# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The wires: the bridge of the registry, one namespace and link per cluster, routes between them."""

import json
import os
from pathlib import Path

from . import plan
from .plan import Cluster
from .process import HarnessError, run, succeeds

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# The first `ip netns add` on a machine mounts it.
NAMESPACES = Path("/run/netns")
# What `down` puts back.
MEMORY = plan.RUNTIME / "network.json"

# Addresses of Services that nobody serves would travel in circles between the machine's routes and the node's.
REFUSE_UNSERVED = """
table inet gatefleet {{
  chain refuse_forward {{
    type filter hook forward priority 0; policy accept;
    ip daddr {range} meta l4proto tcp reject with tcp reset
    ip daddr {range} reject
  }}
  chain refuse_output {{
    type filter hook output priority 0; policy accept;
    ip daddr {range} meta l4proto tcp reject with tcp reset
    ip daddr {range} reject
  }}
}}
"""

# A partition: the cluster works inside, and nothing passes its link.
CUT = """
table inet gatefleet_cut {
  chain incoming {
    type filter hook prerouting priority -400; policy accept;
    iifname "eth0" drop
  }
  chain outgoing {
    type filter hook postrouting priority 400; policy accept;
    oifname "eth0" drop
  }
}
"""


def bridge_up() -> None:
    """Makes the address at which all clusters reach the registry, and lets the machine forward between clusters."""
    if not succeeds("ip", "link", "show", plan.BRIDGE):
        run("ip", "link", "add", plan.BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{plan.BRIDGE_ADDRESS}/32", "dev", plan.BRIDGE)
    run("ip", "link", "set", plan.BRIDGE, "up")
    if not MEMORY.exists():
        MEMORY.parent.mkdir(parents=True, exist_ok=True)
        MEMORY.write_text(
            json.dumps(
                {
                    "ip_forward": FORWARDING.read_text().strip(),
                    "accept_rules": "yes" if _must_accept() else "no",
                    "namespaces": "mounted" if _mounted(NAMESPACES) else "none",
                }
            )
            + "\n"
        )
    FORWARDING.write_text("1\n")
    if _remembered("accept_rules") == "yes":
        for rule in _accept_rules():
            if not succeeds("iptables", "-C", *rule):
                run("iptables", "-I", *rule)


def bridge_down() -> None:
    """Undoes `bridge_up`."""
    if succeeds("ip", "link", "show", plan.BRIDGE):
        run("ip", "link", "delete", plan.BRIDGE)
    if not MEMORY.exists():
        return
    if _remembered("accept_rules") == "yes":
        for rule in _accept_rules():
            succeeds("iptables", "-D", *rule)
    FORWARDING.write_text(f"{_remembered('ip_forward')}\n")
    if _remembered("namespaces") == "none" and _mounted(NAMESPACES) and not os.listdir(NAMESPACES):
        run("umount", str(NAMESPACES))
        NAMESPACES.rmdir()
    MEMORY.unlink()


def cluster_up(cluster: Cluster) -> None:
    """Makes the cluster's namespace with a link to the machine and routes to all its ranges."""
    if cluster.namespace.exists():
        raise HarnessError(f"network namespace {cluster.scope} exists already, and this harness did not make it")
    run("ip", "netns", "add", cluster.scope)
    run("ip", "link", "add", cluster.scope, "type", "veth", "peer", "name", "eth0", "netns", cluster.scope)
    run("ip", "address", "add", f"{cluster.gateway}/24", "dev", cluster.scope)
    run("ip", "link", "set", cluster.scope, "up")
    inside = ("ip", "-n", cluster.scope)
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{cluster.node}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", cluster.gateway)
    for target in (cluster.pods, cluster.services, cluster.load_balancers):
        run("ip", "route", "add", target, "via", cluster.node)
    run(*_inside(cluster), "sysctl", "-qw", "net.ipv4.ip_forward=1")
    run(*_inside(cluster), "nft", "-f", "-", stdin=REFUSE_UNSERVED.format(range=cluster.load_balancers))


def cluster_down(cluster: Cluster) -> None:
    """Undoes `cluster_up`; routes go with the link."""
    if succeeds("ip", "link", "show", cluster.scope):
        run("ip", "link", "delete", cluster.scope)
    if cluster.namespace.exists():
        run("ip", "netns", "delete", cluster.scope)


def cut(cluster: Cluster) -> None:
    """Drops everything between the cluster and the rest, without a word to either side."""
    if not succeeds(*_inside(cluster), "nft", "list", "table", "inet", "gatefleet_cut"):
        run(*_inside(cluster), "nft", "-f", "-", stdin=CUT)


def heal(cluster: Cluster) -> None:
    """Undoes `cut`."""
    if succeeds(*_inside(cluster), "nft", "list", "table", "inet", "gatefleet_cut"):
        run(*_inside(cluster), "nft", "delete", "table", "inet", "gatefleet_cut")


def _inside(cluster: Cluster) -> tuple[str, ...]:
    return ("nsenter", f"--net={cluster.namespace}", "--")


def _mounted(place: Path) -> bool:
    """Also where a folder is mounted onto itself, which `os.path.ismount` does not see."""
    return any(line.split()[1] == str(place) for line in Path("/proc/mounts").read_text().splitlines())


def _must_accept() -> bool:
    """Docker sets the machine's forward policy to DROP, which would cut the clusters from each other."""
    return succeeds("iptables", "--version") and "-P FORWARD ACCEPT" not in run("iptables", "-S", "FORWARD")


def _accept_rules() -> list[tuple[str, ...]]:
    return [("FORWARD", direction, "gf-+", "-j", "ACCEPT") for direction in ("-i", "-o")]


def _remembered(name: str) -> str:
    return str(json.loads(MEMORY.read_text())[name])
