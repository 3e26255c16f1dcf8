// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway's bootstrap file (docs/architecture.md).

use crate::LocalZone;
use local::{Locality, local_zone};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

mod control_plane;
mod limits;
mod local;

pub use control_plane::{AdsProtocol, ControlPlane, ControlPlaneNode, ControlPlaneTls};
pub use limits::ProcessLimits;

/// What a gateway knows before it talks to its control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Where its configuration comes from.
    pub source: Source,
    /// Folder for the last good configuration; never private keys.
    pub state_dir: PathBuf,
    /// Admin page.
    pub admin: SocketAddr,
    /// Readiness.
    pub readiness: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
    /// Seconds that connections may take to end on shutdown.
    pub drain_seconds: u64,
    /// Workers; 0: one for each core.
    pub workers: usize,
    /// Istio's standard metrics are counted as well.
    pub istio_metrics: bool,
    /// What it takes on at the most.
    pub limits: ProcessLimits,
    /// Where it runs, for zone-aware balancing and the control plane.
    pub local: Option<LocalZone>,
}

/// Where a gateway's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The relay of a fleet, which also issues its certificate.
    Fleet(Membership),
    /// Any ADS server.
    ControlPlane(ControlPlane),
}

/// A gateway's place in a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Who it is.
    pub node: Node,
    /// Whose it is.
    pub fleet: Fleet,
    /// Where its configuration comes from.
    pub relay: Relay,
    /// File with the fleet's roots, PEM.
    pub trust_bundle: PathBuf,
    /// File with the token for its certificate.
    pub token_file: PathBuf,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    node: Option<Node>,
    fleet: Option<Fleet>,
    relay: Option<Relay>,
    trust_bundle: Option<PathBuf>,
    token_file: Option<PathBuf>,
    control_plane: Option<ControlPlane>,
    state_dir: PathBuf,
    #[serde(default = "admin_default")]
    admin: SocketAddr,
    #[serde(default = "readiness_default")]
    readiness: SocketAddr,
    #[serde(default = "metrics_default")]
    metrics: SocketAddr,
    #[serde(default = "drain_default")]
    drain_seconds: u64,
    #[serde(default)]
    workers: usize,
    #[serde(default)]
    istio_metrics: bool,
    #[serde(default)]
    limits: ProcessLimits,
    locality: Option<Locality>,
    local_cluster: Option<String>,
}

/// Who a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// The member cluster.
    pub cluster: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod; from the environment variable `POD_NAME` where it is not written.
    #[serde(default)]
    pub pod: String,
}

/// The fleet of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fleet {
    /// Its namespace on the hub.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The relay of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Relay {
    /// Host and port of ADS.
    pub address: String,
    /// Host and port of certificate issuance.
    pub issuer: String,
    /// The name in the relay's certificate.
    pub server_name: String,
}

/// Why a bootstrap file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It is no YAML, or a field is missing, unknown or of the wrong kind; the message has line and column.
    #[error("bootstrap: {0}")]
    Yaml(String),
    /// A field has a value that cannot be.
    #[error("bootstrap: {field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

impl Bootstrap {
    /// Reads a bootstrap file; `pod_name` is the value of `POD_NAME`.
    ///
    /// # Errors
    /// Where it is no YAML or a field is missing, unknown or wrong.
    pub fn parse(yaml: &str, pod_name: Option<&str>) -> Result<Self, BootstrapError> {
        let file: File =
            serde_saphyr::from_str(yaml).map_err(|error| BootstrapError::Yaml(error.to_string()))?;
        let bootstrap = file.into_bootstrap(pod_name)?;
        bootstrap.check()?;
        Ok(bootstrap)
    }

    /// The node id: of a fleet's gateway `<cluster>/<namespace>/<pod>`.
    #[must_use]
    pub fn node_id(&self) -> String {
        match &self.source {
            Source::Fleet(member) => member.node_id(),
            Source::ControlPlane(control_plane) => control_plane.node.id.clone(),
        }
    }

    /// The cluster that the node says it belongs to; may be empty.
    #[must_use]
    pub fn node_cluster(&self) -> &str {
        match &self.source {
            Source::Fleet(member) => &member.node.cluster,
            Source::ControlPlane(control_plane) => &control_plane.node.cluster,
        }
    }

    /// Where ADS is spoken, `host:port`.
    #[must_use]
    pub fn ads_address(&self) -> &str {
        match &self.source {
            Source::Fleet(member) => &member.relay.address,
            Source::ControlPlane(control_plane) => &control_plane.address,
        }
    }

    fn check(&self) -> Result<(), BootstrapError> {
        let fail = |field, message: &str| Err(BootstrapError::Field { field, message: message.to_owned() });
        match &self.source {
            Source::Fleet(member) => member.check()?,
            Source::ControlPlane(control_plane) => control_plane.check()?,
        }
        if !self.admin.ip().is_loopback() {
            return fail("admin", "must be a loopback address: the page shows the configuration");
        }
        self.limits.check()?;
        if self.workers > 1024 {
            return fail("workers", "must be at most 1024");
        }
        if self.drain_seconds > 3600 {
            return fail("drainSeconds", "must be at most 3600");
        }
        Ok(())
    }
}

impl File {
    fn into_bootstrap(self, pod_name: Option<&str>) -> Result<Bootstrap, BootstrapError> {
        let source = match self.control_plane {
            Some(control_plane) => {
                let of_fleet = [
                    ("node", self.node.is_some()),
                    ("fleet", self.fleet.is_some()),
                    ("relay", self.relay.is_some()),
                    ("trustBundle", self.trust_bundle.is_some()),
                    ("tokenFile", self.token_file.is_some()),
                ];
                if let Some((field, _)) = of_fleet.into_iter().find(|(_, written)| *written) {
                    let message = "belongs to a fleet's relay; with controlPlane, remove it".to_owned();
                    return Err(BootstrapError::Field { field, message });
                }
                Source::ControlPlane(control_plane)
            }
            None => {
                let mut member = Membership {
                    node: needed("node", self.node)?,
                    fleet: needed("fleet", self.fleet)?,
                    relay: needed("relay", self.relay)?,
                    trust_bundle: needed("trustBundle", self.trust_bundle)?,
                    token_file: needed("tokenFile", self.token_file)?,
                };
                if member.node.pod.is_empty() {
                    member.node.pod = pod_name.unwrap_or_default().to_owned();
                }
                Source::Fleet(member)
            }
        };
        Ok(Bootstrap {
            source,
            state_dir: self.state_dir,
            admin: self.admin,
            readiness: self.readiness,
            metrics: self.metrics,
            drain_seconds: self.drain_seconds,
            workers: self.workers,
            istio_metrics: self.istio_metrics,
            limits: self.limits,
            local: local_zone(self.locality, self.local_cluster)?,
        })
    }
}

fn needed<T>(field: &'static str, value: Option<T>) -> Result<T, BootstrapError> {
    let message = "is missing: a fleet's gateway needs it, any other needs controlPlane instead";
    value.ok_or_else(|| BootstrapError::Field { field, message: message.to_owned() })
}

impl Membership {
    /// The node id, `<cluster>/<namespace>/<pod>`.
    #[must_use]
    pub fn node_id(&self) -> String {
        format!("{}/{}/{}", self.node.cluster, self.node.namespace, self.node.pod)
    }

    fn check(&self) -> Result<(), BootstrapError> {
        let fail = |field, message: &str| Err(BootstrapError::Field { field, message: message.to_owned() });
        for (field, value) in [
            ("node.cluster", &self.node.cluster),
            ("node.namespace", &self.node.namespace),
            ("node.pod", &self.node.pod),
            ("fleet.namespace", &self.fleet.namespace),
            ("fleet.name", &self.fleet.name),
        ] {
            if value.is_empty() && field == "node.pod" {
                return fail(field, "is empty, and so is the environment variable POD_NAME");
            }
            if value.is_empty() || value.contains('/') || value.chars().any(char::is_whitespace) {
                return fail(field, "must be a name without slashes and blanks");
            }
        }
        for (field, value) in [("relay.address", &self.relay.address), ("relay.issuer", &self.relay.issuer)] {
            if !is_host_and_port(value) {
                return fail(field, "must be host:port");
            }
        }
        if rustls_pki_types::ServerName::try_from(self.relay.server_name.as_str()).is_err() {
            return fail("relay.serverName", "must be a dns name or an ip address");
        }
        Ok(())
    }
}

fn is_host_and_port(text: &str) -> bool {
    let port = text.parse::<http::uri::Authority>().ok().and_then(|authority| authority.port_u16());
    port.is_some_and(|port| port != 0)
}

fn admin_default() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 15000))
}

fn readiness_default() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 15021))
}

fn metrics_default() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 15090))
}

fn drain_default() -> u64 {
    45
}

#[cfg(test)]
mod tests {
    use super::{AdsProtocol, Bootstrap, Source};

    const GOOD: &str = r#"
node: {cluster: eu-west-1, namespace: gateways}
fleet: {namespace: gateways, name: edge}
relay: {address: "gatefleet-relay.gateways.svc:15010", issuer: "gatefleet-relay.gateways.svc:15012", serverName: gatefleet-relay}
trustBundle: /var/run/gatefleet/trust/ca.crt
tokenFile: /var/run/gatefleet/token/token
stateDir: /var/lib/gatefleet
"#;

    #[test]
    fn the_documented_file_is_read() {
        let bootstrap = Bootstrap::parse(GOOD, Some("edge-7d9f-abcde")).unwrap();
        assert_eq!(bootstrap.node_id(), "eu-west-1/gateways/edge-7d9f-abcde");
        assert_eq!(
            (bootstrap.admin.port(), bootstrap.readiness.port(), bootstrap.metrics.port()),
            (15000, 15021, 15090)
        );
        assert_eq!((bootstrap.drain_seconds, bootstrap.workers), (45, 0));
    }

    #[test]
    fn messages_name_the_field() {
        for (from, to, named) in [
            ("cluster: eu-west-1, ", "", "cluster"),
            ("cluster: eu-west-1", "cluster: a/b", "node.cluster"),
            ("name: edge", "name: ''", "fleet.name"),
            ("svc:15010", "svc", "relay.address"),
            ("svc:15012", "svc:0", "relay.issuer"),
            ("serverName: gatefleet-relay", "serverName: 'a b'", "relay.serverName"),
            ("stateDir", "statedir", "statedir"),
            ("fleet:", "admin: 0.0.0.0:15000\nfleet:", "admin"),
            ("fleet:", "drainSeconds: 100000\nfleet:", "drainSeconds"),
        ] {
            let error = Bootstrap::parse(&GOOD.replace(from, to), Some("pod")).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
        let error = Bootstrap::parse(&GOOD.replace("tokenFile: /var/run/gatefleet/token/token", ""), None);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("tokenFile") && error.contains("controlPlane"), "{error}");
        let error = Bootstrap::parse(GOOD, None).unwrap_err().to_string();
        assert!(error.contains("node.pod") && error.contains("POD_NAME"), "{error}");
    }

    const FOREIGN: &str = r#"
controlPlane:
  address: "127.0.0.1:18000"
  plaintext: true
  protocol: sotw
  node: {id: edge-1, cluster: edge, metadata: {LABELS: {app: edge}}}
stateDir: /var/lib/gatefleet
"#;

    #[test]
    fn a_plain_ads_server_needs_no_fleet() {
        let bootstrap = Bootstrap::parse(FOREIGN, None).unwrap();
        assert_eq!((bootstrap.node_id().as_str(), bootstrap.ads_address()), ("edge-1", "127.0.0.1:18000"));
        let Source::ControlPlane(control_plane) = bootstrap.source else { panic!("a control plane") };
        assert_eq!(control_plane.protocol, AdsProtocol::Sotw);
        assert_eq!(control_plane.node.metadata["LABELS"]["app"], "edge");
        let tls =
            "tls: {serverName: xds.example, trustBundle: /ca.crt, certificate: /tls.crt, key: /tls.key}";
        Bootstrap::parse(&FOREIGN.replace("plaintext: true", tls), None).unwrap();
    }

    #[test]
    fn messages_about_a_plain_ads_server_name_the_field() {
        for (from, to, named) in [
            ("  plaintext: true\n", "", "controlPlane.tls"),
            ("127.0.0.1:18000", "127.0.0.1", "controlPlane.address"),
            ("id: edge-1", "id: ''", "controlPlane.node.id"),
            ("sotw", "rest", "protocol"),
            ("stateDir", "tokenFile: /token\nstateDir", "tokenFile"),
            (
                "plaintext: true",
                "plaintext: true\n  tls: {serverName: a, trustBundle: /b}",
                "controlPlane.plaintext",
            ),
            (
                "plaintext: true",
                "tls: {serverName: a, trustBundle: /b, key: /c}",
                "controlPlane.tls.certificate",
            ),
            ("plaintext: true", "tls: {serverName: 'a b', trustBundle: /b}", "controlPlane.tls.serverName"),
        ] {
            let error = Bootstrap::parse(&FOREIGN.replace(from, to), None).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}
