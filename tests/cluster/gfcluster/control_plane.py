# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""etcd, the API server and the controllers of one cluster."""

from pathlib import Path

from .api import Api
from .cgroups import Cgroup
from .plan import Cluster
from .process import Server, wait_for
from .tools import kubernetes

ETCD = "http://127.0.0.1:2379"
API_LIMIT_SECONDS = 90.0


class ControlPlane:
    """The servers above the node."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.etcd = self._server("etcd")
        self.api_server = self._server("kube-apiserver")
        self.controllers = [self._server(name) for name in ("kube-controller-manager", "kube-scheduler", "load-balancer")]
        self._cgroup = Cgroup(cluster.scope)

    def servers(self) -> list[Server]:
        """All of them."""
        return [self.etcd, self.api_server, *self.controllers]

    def start_api(self) -> None:
        """Starts the database and the API server and waits until it is ready."""
        self._start(self.etcd, self._etcd_arguments())
        self._start(self.api_server, self._api_arguments())
        api = Api(self.cluster)
        what = f"the API server of {self.cluster.name} to be ready"
        wait_for(what, lambda: api.ok("/readyz") or not self._api_runs(), API_LIMIT_SECONDS, hint=self.api_server.last_words)
        if not self._api_runs():
            wait_for(f"{what}, but it ended", lambda: False, 0, hint=self.api_server.last_words)

    def stop_api(self) -> None:
        """Ends both at once, as the loss of a machine would; the data stays."""
        # In this order: an API server whose database went first hangs.
        self.api_server.kill()
        self.etcd.kill()

    def start_controllers(self) -> None:
        """Starts what acts on objects."""
        for server, arguments in zip(self.controllers, (self._manager(), self._scheduler(), self._load_balancer()), strict=True):
            self._start(server, arguments)

    def _api_runs(self) -> bool:
        return self.api_server.alive() and self.etcd.alive()

    def _server(self, name: str) -> Server:
        return Server(name, self.cluster.runtime, self.cluster.logs / f"{name}.log")

    def _start(self, server: Server, arguments: list[str]) -> None:
        command: list[str | Path] = [kubernetes(server.name), *arguments]
        server.start(command, self._cgroup, self.cluster.namespace)

    def _pki(self, file: str) -> str:
        return str(self.cluster.home / "pki" / file)

    def _kubeconfig(self, identity: str) -> str:
        return f"--kubeconfig={self.cluster.home / identity}.kubeconfig"

    def _etcd_arguments(self) -> list[str]:
        return [
            f"--data-dir={self.cluster.home / 'etcd'}",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            # A test cluster survives the end of its processes, not of its machine.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_arguments(self) -> list[str]:
        cluster = self.cluster
        return [
            f"--etcd-servers={ETCD}",
            f"--advertise-address={cluster.node}",
            f"--service-cluster-ip-range={cluster.services}",
            f"--client-ca-file={self._pki('ca.crt')}",
            f"--tls-cert-file={self._pki('api.crt')}",
            f"--tls-private-key-file={self._pki('api.key')}",
            f"--service-account-key-file={self._pki('service-accounts.key')}",
            f"--service-account-signing-key-file={self._pki('service-accounts.key')}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--kubelet-certificate-authority={self._pki('ca.crt')}",
            f"--kubelet-client-certificate={self._pki('api-to-kubelet.crt')}",
            f"--kubelet-client-key={self._pki('api-to-kubelet.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            # metrics-server is an API server behind this one.
            "--enable-aggregator-routing",
            f"--requestheader-client-ca-file={self._pki('ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={self._pki('front-proxy.crt')}",
            f"--proxy-client-key-file={self._pki('front-proxy.key')}",
        ]

    def _manager(self) -> list[str]:
        return [
            self._kubeconfig("controller-manager"),
            f"--service-account-private-key-file={self._pki('service-accounts.key')}",
            f"--root-ca-file={self._pki('ca.crt')}",
            f"--cluster-signing-cert-file={self._pki('ca.crt')}",
            f"--cluster-signing-key-file={self._pki('ca.key')}",
            "--use-service-account-credentials",
            f"--cluster-cidr={self.cluster.pods}",
            "--allocate-node-cidrs",
            "--node-cidr-mask-size=20",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            # A test waits for an autoscaler's decisions; the defaults are minutes.
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            "--horizontal-pod-autoscaler-downscale-stabilization=30s",
        ]

    def _scheduler(self) -> list[str]:
        return [self._kubeconfig("scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1"]

    def _load_balancer(self) -> list[str]:
        return [self._kubeconfig("load-balancer"), f"--range={self.cluster.load_balancers}"]
