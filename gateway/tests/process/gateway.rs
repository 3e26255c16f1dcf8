// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway as a child process, and the relay that the test plays for it.

use crate::authority::{Authority, Fault, TOKEN, serve_issuer};
use crate::backend::ask;
use crate::server::{AdsServer, within};
use http::StatusCode;
use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

const RELAY: &str = "gatefleet-relay";

/// Ports of one gateway.
#[derive(Clone, Copy)]
pub struct Ports {
    pub admin: SocketAddr,
    pub readiness: SocketAddr,
    pub metrics: SocketAddr,
    pub traffic: SocketAddr,
}

/// The relay's two ports and its authority.
pub struct Relay {
    pub authority: Arc<Authority>,
    pub ads: AdsServer,
    issuer: SocketAddr,
}

impl Relay {
    pub async fn start() -> Self {
        let authority = Authority::new(Duration::from_secs(3600), Fault::None);
        let issuer = serve_issuer(authority.clone(), RELAY).await;
        let (chain, key) = authority.server(RELAY);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(chain, key))
            .client_ca_root(Certificate::from_pem(&authority.root));
        Self { ads: AdsServer::start(Some(tls)).await, authority, issuer }
    }

    /// Writes everything that a gateway needs into a folder; gives the ports that it will use.
    pub fn bootstrap(&self, folder: &TempDir) -> Ports {
        let held: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let address = |at: usize| held[at].local_addr().unwrap();
        let ports =
            Ports { admin: address(0), readiness: address(1), metrics: address(2), traffic: address(3) };
        let path = folder.path();
        std::fs::write(path.join("ca.crt"), &self.authority.root).unwrap();
        std::fs::write(path.join("token"), TOKEN).unwrap();
        let yaml = format!(
            "node: {{cluster: c, namespace: gateways, pod: edge-1}}\nfleet: {{namespace: gateways, name: edge}}\n\
             relay: {{address: \"{}\", issuer: \"{}\", serverName: {RELAY}}}\ntrustBundle: {}\ntokenFile: {}\n\
             stateDir: {}\nadmin: {}\nreadiness: {}\nmetrics: {}\ndrainSeconds: 3\nworkers: 1\nistioMetrics: true\n",
            self.ads.address,
            self.issuer,
            path.join("ca.crt").display(),
            path.join("token").display(),
            path.join("state").display(),
            ports.admin,
            ports.readiness,
            ports.metrics,
        );
        std::fs::write(path.join("bootstrap.yaml"), yaml).unwrap();
        ports
    }
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: std::process::Child,
    log: PathBuf,
    pub ports: Ports,
}

impl Gateway {
    pub fn start(folder: &Path, ports: Ports) -> Self {
        let log = folder.join("gateway.log");
        let lines = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gatefleet-gateway"))
            .arg("--bootstrap")
            .arg(folder.join("bootstrap.yaml"))
            .args(["--log-format", "text", "--log", "info,gateway=debug,gateway_xds_client=debug"])
            .stdout(Stdio::null())
            .stderr(lines)
            .spawn()
            .unwrap();
        Self { child, log, ports }
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until a path of a port gives the wanted status.
    pub async fn until(&self, address: SocketAddr, path: &str, wanted: StatusCode) -> String {
        let reached = async {
            loop {
                if let Some((status, body)) = ask(address, "GET", "shop.example", path).await
                    && status == wanted
                {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(&format!("{wanted} from {path}"), reached).await
    }

    /// Asks the process to end.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the gateway to end", ended).await
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
