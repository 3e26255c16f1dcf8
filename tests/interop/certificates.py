# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""A root and the certificate of one server, made for a run."""
from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "interop.example"
_ROOT = """
[req]
distinguished_name = dn
prompt = no
x509_extensions = root
[dn]
CN = Gatefleet interop root
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
"""
_LEAF = f"""
[req]
distinguished_name = dn
prompt = no
x509_extensions = leaf
[dn]
CN = {NAME}
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:{NAME}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM."""

    root: Path
    chain: Path
    key: Path


def make(folder: Path) -> Certificates:
    """Writes a root and a certificate for NAME."""
    root, root_key = folder / "root.pem", folder / "root.key"
    made = Certificates(root, folder / "chain.pem", folder / "chain.key")
    _request(folder / "root.cnf", _ROOT, root, root_key, [])
    _request(folder / "leaf.cnf", _LEAF, made.chain, made.key, ["-CA", str(root), "-CAkey", str(root_key)])
    return made


def _request(file: Path, text: str, out: Path, key: Path, issuer: list[str]) -> None:
    file.write_text(text)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    line = ["openssl", "req", "-x509", *curve, "-days", "2", "-config", str(file), "-out", str(out), "-keyout", str(key), *issuer]
    subprocess.run(line, check=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
