// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes what a gateway process starts from: bootstrap, trust bundle, token.

use super::plan::{GatewayFiles, Program};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Ports of one process, all on loopback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) admin: SocketAddr,
    pub(super) readiness: SocketAddr,
    pub(super) metrics: SocketAddr,
}

/// Three free ports. They are free now; a process that loses one to someone else exits and is started with others.
pub(super) fn free_ports() -> io::Result<Ports> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (a, b, c) = (bind()?, bind()?, bind()?);
    Ok(Ports { admin: a.local_addr()?, readiness: b.local_addr()?, metrics: c.local_addr()? })
}

/// Writes the files of a gateway into its folder.
pub(super) fn write(program: &Program, files: &GatewayFiles, ports: Ports) -> io::Result<()> {
    let folder = &program.folder;
    fs::create_dir_all(folder.join("state"))?;
    write_private(&folder.join("token"), files.tokens.issue(&files.identity).as_bytes())?;
    fs::write(folder.join("ca.crt"), &files.trust_bundle)?;
    let identity = &files.identity;
    // JSON is YAML; the strings are quoted right in either.
    let bootstrap = json!({
        "node": {"cluster": identity.cluster, "namespace": identity.namespace, "pod": identity.pod},
        "fleet": {"namespace": identity.fleet.0, "name": identity.fleet.1},
        "relay": {"address": files.relay, "issuer": files.issuer, "serverName": files.server_name},
        "trustBundle": folder.join("ca.crt"),
        "tokenFile": folder.join("token"),
        "stateDir": folder.join("state"),
        "admin": ports.admin.to_string(),
        "readiness": ports.readiness.to_string(),
        "metrics": ports.metrics.to_string(),
        "drainSeconds": files.drain.as_secs(),
        "workers": 1,
    });
    fs::write(folder.join("bootstrap.yaml"), format!("{bootstrap:#}\n"))
}

/// Readable by this user alone from its first moment.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}
