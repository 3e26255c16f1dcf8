// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the operator process is told on its command line.

use clap::{Args, ValueEnum};
use gateway_telemetry::LogFormat;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Decides: compiles routes, plans rollouts, applies workloads.
    Hub,
    /// Serves this cluster's gateways.
    Relay,
}

/// Arguments of `gatefleet operator`.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    /// Roles of this process: hub, relay or both.
    #[arg(long, value_delimiter = ',', default_value = "hub")]
    pub roles: Vec<Role>,
    /// Namespace of this process; Leases live there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "gatefleet-system")]
    pub namespace: String,
    /// Name of this process among its replicas.
    #[arg(long, env = "POD_NAME", default_value = "gatefleet")]
    pub pod: String,
    /// Image of the relays that the hub starts in member clusters.
    #[arg(long, env = "GATEFLEET_OPERATOR_IMAGE", default_value = "")]
    pub operator_image: String,
    /// Image of gateways whose fleet names none.
    #[arg(long, env = "GATEFLEET_GATEWAY_IMAGE", default_value = "")]
    pub gateway_image: String,
    /// DNS name of the Service in front of this process; gateways find a relay in the hub's process there.
    #[arg(long, default_value = "gatefleet.gatefleet-system.svc")]
    pub service: String,
    /// The fleet that a relay serves, as NAMESPACE/NAME (relay without hub).
    #[arg(long)]
    pub fleet: Option<String>,
    /// The FleetCluster that a relay runs in (relay without hub).
    #[arg(long)]
    pub cluster: Option<String>,
    /// Where ADS listens.
    #[arg(long, default_value = "0.0.0.0:15010")]
    pub xds_listen: SocketAddr,
    /// Where certificates are issued and plugins handed out.
    #[arg(long, default_value = "0.0.0.0:15012")]
    pub issuer_listen: SocketAddr,
    /// Where health and metrics are served.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub http_listen: SocketAddr,
    /// Folder for the plugin cache.
    #[arg(long, default_value = "/var/lib/gatefleet")]
    pub state_dir: PathBuf,
    /// Gateway program for clusters of mode Host; without it such clusters are reported.
    #[arg(long)]
    pub gateway_program: Option<PathBuf>,
    /// Log filter.
    #[arg(long, env = "GATEFLEET_LOG", default_value = "info")]
    pub log: String,
    /// Form of the log.
    #[arg(long, env = "GATEFLEET_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// Registries that are spoken to in plain HTTP, as HOST:PORT. For tests and closed networks.
    #[arg(long, value_delimiter = ',')]
    pub plain_http_registries: Vec<String>,
}

impl OperatorArgs {
    /// Whether the process has a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
