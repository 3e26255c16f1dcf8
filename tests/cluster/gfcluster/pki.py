# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A cluster's certificates and kubeconfigs."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from .plan import Cluster
from .process import run

DAYS = "365"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for."""

    file: str
    user: str
    group: str = ""
    names: str = ""


def create(cluster: Cluster) -> None:
    """Makes the authority, one certificate per server, and the kubeconfigs."""
    home = cluster.home / "pki"
    home.mkdir(parents=True, exist_ok=True)
    subject = f"/CN=gatefleet-{cluster.name}"
    run("openssl", "req", "-x509", *NEW_KEY, "-keyout", home / "ca.key", "-out", home / "ca.crt", "-subj", subject, "-days", DAYS)
    run("openssl", "genrsa", "-out", home / "service-accounts.key", "2048")
    for identity in _identities(cluster):
        _issue(home, identity)
    _write_kubeconfig(cluster, "admin", cluster.kubeconfig)
    for name in ("node", "controller-manager", "scheduler", "proxy", "load-balancer"):
        _write_kubeconfig(cluster, name, cluster.home / f"{name}.kubeconfig")


def _identities(cluster: Cluster) -> list[Identity]:
    service = ",".join(f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local"))
    addresses = f"IP:127.0.0.1,IP:{cluster.node},IP:{cluster.api_service}"
    return [
        Identity("api", "kube-apiserver", names=f"{service},DNS:localhost,DNS:api.{cluster.name}.gatefleet.test,{addresses}"),
        Identity("admin", "kubernetes-admin", "system:masters"),
        Identity("api-to-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("front-proxy", "front-proxy-client"),
        Identity("node", f"system:node:{cluster.name}", "system:nodes", f"DNS:{cluster.name},IP:{cluster.node}"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        Identity("load-balancer", "gatefleet:load-balancer"),
    ]


def _issue(home: Path, identity: Identity) -> None:
    request, certificate, key = (home / f"{identity.file}.{suffix}" for suffix in ("csr", "crt", "key"))
    subject = (f"/O={identity.group}" if identity.group else "") + f"/CN={identity.user}"
    run("openssl", "req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", subject)
    extensions = home / f"{identity.file}.ext"
    names = f"subjectAltName={identity.names}\n" if identity.names else ""
    extensions.write_text(f"{names}extendedKeyUsage=serverAuth,clientAuth\n")
    authority = ("-CA", home / "ca.crt", "-CAkey", home / "ca.key", "-CAcreateserial")
    run("openssl", "x509", "-req", "-in", request, *authority, "-days", DAYS, "-out", certificate, "-extfile", extensions)
    request.unlink()
    extensions.unlink()


def _write_kubeconfig(cluster: Cluster, identity: str, path: Path) -> None:
    home = cluster.home / "pki"
    encoded = {name: base64.b64encode((home / name).read_bytes()).decode() for name in ("ca.crt", f"{identity}.crt", f"{identity}.key")}
    name, user = cluster.name, f"{cluster.name}-{identity}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": cluster.api_url, "certificate-authority-data": encoded["ca.crt"]}}],
        "users": [
            {"name": user, "user": {"client-certificate-data": encoded[f"{identity}.crt"], "client-key-data": encoded[f"{identity}.key"]}}
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    # JSON is YAML too, and needs no library.
    path.write_text(json.dumps(document, indent=2) + "\n")
    path.chmod(0o600)
