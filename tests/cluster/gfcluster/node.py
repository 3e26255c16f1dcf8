# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The one node of a cluster: containerd, kubelet, kube-proxy."""

import json
import os
import subprocess
from pathlib import Path

from . import plan
from .cgroups import Cgroup
from .plan import Cluster
from .process import HarnessError, Server, run, succeeds, wait_for
from .tools import kubernetes

SANDBOX_IMAGE = "registry.k8s.io/pause:3.10.1"
CONTAINERD_LIMIT_SECONDS = 30.0
IMPORT_LIMIT_SECONDS = 120.0

# The node gets a mount namespace of its own, so that every mount of every pod is gone with the last process. Its paths
# that containerd, kubelet and CNI have fixed for a machine are hidden behind empty ones, so that two nodes do not meet.
ENTER_NODE = """
set -e
for place in /run/netns /run/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers; do
  mkdir -p "$place"
  mount -t tmpfs -o mode=0755 gatefleet "$place"
done
mount --make-rshared /
exec "$@"
"""


class Node:
    """The servers on the node."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.containerd = self._server("containerd")
        self.kubelet = self._server("kubelet")
        self.proxy = self._server("kube-proxy")
        self._cgroup = Cgroup(cluster.scope)

    def servers(self) -> list[Server]:
        """All of them."""
        return [self.containerd, self.kubelet, self.proxy]

    def start_containerd(self) -> None:
        """Starts the container runtime, which also holds the node's mount namespace."""
        self._write_containerd_files()
        enter = ("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", ENTER_NODE, "node")
        command: list[str | Path] = ["containerd", "--config", self.cluster.home / "containerd.toml"]
        self.containerd.start(command, self._cgroup, self.cluster.namespace, enter)
        what = f"containerd of {self.cluster.name} to answer"
        wait_for(what, lambda: succeeds(*self._ctr(), "version", limit=5), CONTAINERD_LIMIT_SECONDS, hint=self.containerd.last_words)

    def start_kubelet(self) -> None:
        """Starts the node's agent and the proxy for Services."""
        cluster = self.cluster
        self._write("kubelet.yaml", self._kubelet_configuration())
        self._write("kube-proxy.yaml", self._proxy_configuration())
        arguments = [
            f"--config={cluster.home / 'kubelet.yaml'}",
            f"--kubeconfig={cluster.home / 'node.kubeconfig'}",
            f"--hostname-override={cluster.name}",
            f"--node-ip={cluster.node}",
            f"--root-dir={cluster.home / 'kubelet'}",
            f"--cert-dir={cluster.home / 'kubelet-pki'}",
            "--node-labels=topology.kubernetes.io/region=test,topology.kubernetes.io/zone=" + cluster.name,
        ]
        enter = ("nsenter", f"--mount=/proc/{self.containerd.pid()}/ns/mnt", "--")
        self.kubelet.start([kubernetes("kubelet"), *arguments], self._cgroup, cluster.namespace, enter)
        proxy: list[str | Path] = [kubernetes("kube-proxy"), f"--config={cluster.home / 'kube-proxy.yaml'}"]
        self.proxy.start(proxy, self._cgroup, cluster.namespace)

    def load_image(self, archive: Path) -> None:
        """Puts the images of an OCI or Docker archive into the node's store."""
        if not archive.is_file():
            raise HarnessError(f"there is no image archive {archive}")
        run(*self._ctr(), "images", "import", archive, limit=IMPORT_LIMIT_SECONDS)

    def _ctr(self) -> tuple[str | Path, ...]:
        return ("ctr", "--address", self.cluster.containerd, "--namespace", "k8s.io")

    def _server(self, name: str) -> Server:
        return Server(name, self.cluster.runtime, self.cluster.logs / f"{name}.log")

    def _write(self, name: str, document: dict[str, object]) -> None:
        # JSON is YAML too.
        (self.cluster.home / name).write_text(json.dumps(document, indent=2) + "\n")

    def _write_containerd_files(self) -> None:
        cluster, home = self.cluster, self.cluster.home
        (home / "containerd.toml").write_text(_containerd_configuration(cluster))
        for host in (plan.REGISTRY, plan.REGISTRY_NAME):
            directory = home / "registries" / host
            directory.mkdir(parents=True, exist_ok=True)
            url = f"http://{plan.REGISTRY}"
            (directory / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n')
        (home / "cni").mkdir(exist_ok=True)
        (home / "cni" / "10-bridge.conflist").write_text(json.dumps(_pod_network(cluster), indent=2) + "\n")

    def _kubelet_configuration(self) -> dict[str, object]:
        cluster, pki = self.cluster, self.cluster.home / "pki"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "node.crt"),
            "tlsPrivateKeyFile": str(pki / "node.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cluster.scope}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{cluster.containerd}",
            "clusterDNS": [cluster.dns],
            "clusterDomain": "cluster.local",
            # Pods with dnsPolicy Default must not ask the machine's own resolver.
            "resolvConf": "",
            "podLogsDir": str(cluster.home / "pod-logs"),
            "maxPods": 250,
            "serializeImagePulls": False,
            "registryPullQPS": 0,
            # Changed ConfigMaps and Secrets reach mounted volumes on a pod's next sync; the default is a minute.
            "syncFrequency": "10s",
            "evictionHard": {"memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
        }

    def _proxy_configuration(self) -> dict[str, object]:
        cluster = self.cluster
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "nftables": {"minSyncPeriod": "100ms"},
            "clusterCIDR": cluster.pods,
            "clientConnection": {"kubeconfig": str(cluster.home / "proxy.kubeconfig")},
            # These maxima belong to the whole machine.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "hostnameOverride": cluster.name,
            "bindAddress": cluster.node,
        }


def _containerd_configuration(cluster: Cluster) -> str:
    home = cluster.home
    return f"""version = 2
root = "{home / "containerd"}"
state = "{cluster.runtime / "containerd"}"
[grpc]
  address = "{cluster.containerd}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home / "opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  # Without CAP_SYS_RESOURCE runc may not lower a score, and dies.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_cni_plugins()}"
    conf_dir = "{home / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{_snapshotter(home)}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{home / "registries"}"
"""


def _pod_network(cluster: Cluster) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": cluster.node_pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(cluster.home / "cni-addresses"),
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}


def _cni_plugins() -> Path:
    for place in (Path("/usr/lib/cni"), Path("/opt/cni/bin")):
        if (place / "bridge").exists() and (place / "host-local").exists():
            return place
    raise HarnessError("the CNI plugins are not installed: run tests/setup/setup.sh")


def _snapshotter(home: Path) -> str:
    """overlayfs, unless the work tree lies on an overlay itself (a container): the kernel stacks them badly."""
    if os.access("/usr/bin/stat", os.X_OK):
        kind = subprocess.run(["stat", "-f", "-c", "%T", home], capture_output=True, text=True, timeout=10).stdout.strip()
        return "native" if kind.startswith("overlay") else "overlayfs"
    return "overlayfs"
