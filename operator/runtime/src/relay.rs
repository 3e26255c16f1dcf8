// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay: joins a pinned revision with a cluster's live data and serves it to the cluster's gateways.
//!
//! It needs neither the hub nor a leader: what it was pinned to last, it serves.

mod attest;
mod live;
mod plugins;
mod report;
mod serve_loop;
pub mod services;

pub use attest::{HostAttestor, KubernetesAttestor};
pub use plugins::{PluginCache, PluginState};
pub(crate) use report::NACK_LIMIT;
pub use report::{GatewayReport, RelayReport};

use crate::objects::Objects;
use crate::pin::PinReceiver;
use jiff::Timestamp;
use operator_identity::{
    ClusterAuthority, FleetName, IdentityError, Validity, WorkloadIdentity, rotate_at_random,
};
use operator_ir::GatewayId;
use operator_translate::BindOptions;
use operator_xds_server::{
    Ads, Attestor, Group, Issuer, Ledger, LedgerEvent, Limits, Metrics, Publisher, ServerTls,
    SharedAuthority, TlsError, serve_ads, serve_issuer,
};
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Shortest wait before the relay's own certificate is renewed, so that a clock that jumps makes no busy loop.
const MIN_RENEWAL: Duration = Duration::from_secs(60);

/// What a relay is told about itself.
#[derive(Debug)]
pub struct RelayOptions {
    /// The fleet that it serves.
    pub fleet: FleetName,
    /// The FleetCluster that it serves in.
    pub cluster: String,
    /// How gateways bind their listeners.
    pub bind: BindOptions,
    /// Where gateways fetch plugins: the issuance address as `https://host:port`.
    pub plugin_source: String,
    /// Names and addresses under which gateways reach it.
    pub server_names: Vec<String>,
    /// Roots of the fleet, PEM.
    pub trust_bundle: String,
    /// Signs the cluster's workloads.
    pub authority: ClusterAuthority,
}

/// What a relay works with.
pub struct RelayParts {
    /// The pinned revision.
    pub pins: PinReceiver,
    /// Services, EndpointSlices and certificates of the cluster.
    pub objects: Objects,
    /// Knows who holds a token.
    pub attestor: Arc<dyn Attestor>,
    /// Fetches and keeps plugins.
    pub plugins: PluginCache,
    /// Bound socket for ADS.
    pub xds: TcpListener,
    /// Bound socket for issuance.
    pub issuer: TcpListener,
    /// Figures.
    pub metrics: Metrics,
}

impl std::fmt::Debug for RelayParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayParts").field("objects", &self.objects).finish_non_exhaustive()
    }
}

/// A relay at work.
#[derive(Debug)]
pub struct Relay {
    /// What its gateways make of the pinned revision; changes with every transition.
    pub reports: watch::Receiver<RelayReport>,
    /// Its gateways' transitions with time stamps.
    pub ledger: Ledger,
    authority: SharedAuthority,
    tls: Arc<ServerTls>,
    names: Vec<String>,
    trust_bundle: Arc<RwLock<String>>,
}

/// Why a relay cannot start or renew itself.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Its authority cannot sign its certificate.
    #[error("cannot make the relay's certificate")]
    Identity(#[from] IdentityError),
    /// Its certificate cannot be served.
    #[error("cannot serve TLS")]
    Tls(#[from] TlsError),
}

/// The gateways that may connect, as they are pinned now.
type Known = Arc<RwLock<BTreeSet<GatewayId>>>;

impl Relay {
    /// Starts serving; everything ends with `stop`.
    ///
    /// # Errors
    /// Where its own certificate cannot be made.
    pub fn start(
        options: RelayOptions,
        parts: RelayParts,
        stop: CancellationToken,
    ) -> Result<Self, RelayError> {
        let RelayOptions { fleet, cluster, bind, plugin_source, server_names, trust_bundle, authority } =
            options;
        let certificate = authority.server_certificate(&server_names, Timestamp::now())?;
        let tls = Arc::new(ServerTls::new(&certificate, &trust_bundle)?);
        let authority = SharedAuthority::new(authority);
        let ledger = Ledger::new();
        let publisher = Publisher::new(ledger.clone());
        let known: Known = Arc::default();
        let limits = Limits::default();

        let ads = Ads::new(
            publisher.clone(),
            groups(fleet, cluster, known.clone()),
            limits,
            parts.metrics.clone(),
            stop.clone(),
        );
        spawn_serving("ads", serve_ads(parts.xds, tls.clone(), ads));
        let issuer = Issuer {
            authority: authority.clone(),
            attestor: parts.attestor,
            plugins: Arc::new(parts.plugins.clone()),
            limits,
            metrics: parts.metrics,
        };
        spawn_serving("issuance", serve_issuer(parts.issuer, tls.clone(), issuer, stop.clone()));

        tokio::spawn(log_acknowledgements(ledger.events(), stop.clone()));
        let (sender, reports) = watch::channel(RelayReport::default());
        let work = serve_loop::ServeLoop::new((bind, plugin_source), publisher, known, parts.plugins, sender);
        tokio::spawn(work.run(parts.pins, parts.objects, stop.clone()));

        let trust_bundle = Arc::new(RwLock::new(trust_bundle));
        let relay = Self { reports, ledger, authority, tls, names: server_names, trust_bundle };
        relay.spawn_renewal(
            Validity { not_before: certificate.not_before, not_after: certificate.not_after },
            stop,
        );
        Ok(relay)
    }

    /// Signs with another authority from now on, and serves a certificate of it.
    ///
    /// # Errors
    /// Where the authority cannot sign; the old one stays.
    pub fn replace_authority(
        &self,
        authority: ClusterAuthority,
        trust_bundle: String,
    ) -> Result<(), RelayError> {
        let certificate = authority.server_certificate(&self.names, Timestamp::now())?;
        self.tls.replace(&certificate, &trust_bundle)?;
        *self.trust_bundle.write() = trust_bundle;
        self.authority.replace(authority);
        Ok(())
    }

    /// Renews the relay's own certificate before it ends.
    fn spawn_renewal(&self, mut validity: Validity, stop: CancellationToken) {
        let (authority, tls, names) = (self.authority.clone(), self.tls.clone(), self.names.clone());
        let bundle = self.trust_bundle.clone();
        tokio::spawn(async move {
            loop {
                let wait = rotate_at_random(validity).duration_since(Timestamp::now());
                let wait = Duration::try_from(wait).unwrap_or_default().max(MIN_RENEWAL);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => return,
                }
                let renewed = authority.current().server_certificate(&names, Timestamp::now());
                match renewed {
                    Ok(certificate) => {
                        validity =
                            Validity { not_before: certificate.not_before, not_after: certificate.not_after };
                        let roots = bundle.read().clone();
                        if let Err(error) = tls.replace(&certificate, &roots) {
                            tracing::error!(
                                error = &error as &dyn std::error::Error,
                                "renewed certificate refused"
                            );
                        }
                    }
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "relay certificate not renewed"
                        );
                    }
                }
            }
        });
    }
}

/// One line for each acknowledgement under a target of its own, which is silent unless it is asked for: for whoever wants to
/// know how long a change took (`GATEFLEET_LOG=info,gatefleet::acknowledgements=debug`).
async fn log_acknowledgements(mut events: broadcast::Receiver<LedgerEvent>, stop: CancellationToken) {
    loop {
        match stop.run_until_cancelled(events.recv()).await {
            Some(Ok(LedgerEvent::Acked { group, node, version, sequence, .. })) => {
                tracing::debug!(target: "gatefleet::acknowledgements", %group, %node, %version, sequence, "acknowledged");
            }
            Some(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {}
            Some(Err(broadcast::error::RecvError::Closed)) | None => return,
        }
    }
}

/// A gateway's group is its ServiceAccount, as its certificate says; only gateways of this fleet and cluster have one.
fn groups(fleet: FleetName, cluster: String, known: Known) -> Arc<dyn operator_xds_server::Groups> {
    Arc::new(move |identity: &WorkloadIdentity| {
        let id = GatewayId { namespace: identity.namespace.clone(), name: identity.service_account.clone() };
        let ours = identity.fleet == fleet && identity.cluster == cluster && known.read().contains(&id);
        ours.then(|| group_of(&id))
    })
}

fn group_of(id: &GatewayId) -> Group {
    Group::new(id.to_string())
}

fn spawn_serving(
    what: &'static str,
    serving: impl Future<Output = Result<(), operator_xds_server::ServeError>> + Send + 'static,
) {
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(what, error = &error as &dyn std::error::Error, "server ended");
        }
    });
}
