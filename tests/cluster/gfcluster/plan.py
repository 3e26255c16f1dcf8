# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""Names, addresses and paths of the clusters: everything that is decided before anything runs."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
STATE = REPOSITORY / "target" / "clusters"
LOGS = STATE / "logs"
# Sockets and pids live here and not under STATE: a socket's path may have 107 bytes while a work tree's path may have
# any number, and `down` must find what runs even after someone emptied target/.
RUNTIME = Path("/run/gatefleet")
OWNER = RUNTIME / "owner"

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")

BRIDGE = "gatefleet0"
BRIDGE_ADDRESS = "172.30.0.1"
REGISTRY_PORT = 5000
REGISTRY = f"{BRIDGE_ADDRESS}:{REGISTRY_PORT}"
REGISTRY_NAME = f"registry.gatefleet.test:{REGISTRY_PORT}"


@dataclass(frozen=True)
class Cluster:
    """One cluster of the plan; its number, counted from 1, decides all addresses."""

    name: str
    number: int

    @property
    def scope(self) -> str:
        """Name of its network namespace, cgroup and link."""
        return f"gf-{self.name}"

    @property
    def gateway(self) -> str:
        """The machine's end of the link to the cluster."""
        return f"172.30.{self.number}.1"

    @property
    def node(self) -> str:
        """The node's address, which is the API server's too."""
        return f"172.30.{self.number}.2"

    @property
    def pods(self) -> str:
        """Range of pod addresses."""
        return f"10.{100 + self.number}.0.0/16"

    @property
    def node_pods(self) -> str:
        """The part of it that the only node hands out."""
        return f"10.{100 + self.number}.0.0/20"

    @property
    def services(self) -> str:
        """Range of Service addresses."""
        return f"10.{200 + self.number}.0.0/16"

    @property
    def api_service(self) -> str:
        """Address of the Service `kubernetes`."""
        return f"10.{200 + self.number}.0.1"

    @property
    def dns(self) -> str:
        """Address of the cluster's DNS Service."""
        return f"10.{200 + self.number}.0.10"

    @property
    def load_balancers(self) -> str:
        """Range of addresses for Services of type LoadBalancer."""
        return f"10.{220 + self.number}.0.0/24"

    @property
    def api_url(self) -> str:
        """The API server, as everyone reaches it."""
        return f"https://{self.node}:6443"

    @property
    def home(self) -> Path:
        """Directory of its state."""
        return STATE / self.name

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of an administrator."""
        return self.home / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Directory of its servers' logs; it outlives the cluster."""
        return LOGS / self.name

    @property
    def runtime(self) -> Path:
        """Directory of containerd's sockets and running state."""
        return RUNTIME / self.name

    @property
    def containerd(self) -> Path:
        """containerd's socket."""
        return self.runtime / "containerd.sock"

    @property
    def namespace(self) -> Path:
        """The network namespace, as `ip netns` keeps it."""
        return Path("/run/netns") / self.scope


def cluster(name: str) -> Cluster:
    """The cluster of that name."""
    if name not in NAMES:
        raise ValueError(f"no cluster is called {name!r}; the names are {', '.join(NAMES)}")
    return Cluster(name, NAMES.index(name) + 1)


def first(count: int) -> list[Cluster]:
    """The first `count` clusters."""
    if not 0 <= count <= len(NAMES):
        raise ValueError(f"between 0 and {len(NAMES)} clusters are possible, not {count}")
    return [cluster(name) for name in NAMES[:count]]


def existing() -> list[Cluster]:
    """The clusters that were started, whole or not, and not ended since."""
    return [cluster(name) for name in NAMES if (RUNTIME / name).exists()]
