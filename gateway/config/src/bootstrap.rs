// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway's bootstrap file (docs/architecture.md).

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a gateway knows before it talks to its relay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
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
    /// Folder for the last good configuration; never private keys.
    pub state_dir: PathBuf,
    /// Admin page.
    #[serde(default = "admin_default")]
    pub admin: SocketAddr,
    /// Readiness.
    #[serde(default = "readiness_default")]
    pub readiness: SocketAddr,
    /// Metrics.
    #[serde(default = "metrics_default")]
    pub metrics: SocketAddr,
    /// Seconds that connections may take to end on shutdown.
    #[serde(default = "drain_default")]
    pub drain_seconds: u64,
    /// Workers; 0: one for each core.
    #[serde(default)]
    pub workers: usize,
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
        let mut bootstrap: Self =
            serde_saphyr::from_str(yaml).map_err(|error| BootstrapError::Yaml(error.to_string()))?;
        if bootstrap.node.pod.is_empty() {
            bootstrap.node.pod = pod_name.unwrap_or_default().to_owned();
        }
        bootstrap.check()?;
        Ok(bootstrap)
    }

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
            let port = value.parse::<http::uri::Authority>().ok().and_then(|authority| authority.port_u16());
            if port.is_none_or(|port| port == 0) {
                return fail(field, "must be host:port");
            }
        }
        if rustls_pki_types::ServerName::try_from(self.relay.server_name.as_str()).is_err() {
            return fail("relay.serverName", "must be a dns name or an ip address");
        }
        if !self.admin.ip().is_loopback() {
            return fail("admin", "must be a loopback address: the page shows the configuration");
        }
        if self.workers > 1024 {
            return fail("workers", "must be at most 1024");
        }
        if self.drain_seconds > 3600 {
            return fail("drainSeconds", "must be at most 3600");
        }
        Ok(())
    }
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
    use super::Bootstrap;

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
        let error = Bootstrap::parse(GOOD, None).unwrap_err().to_string();
        assert!(error.contains("node.pod") && error.contains("POD_NAME"), "{error}");
    }
}
