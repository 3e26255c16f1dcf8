// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Relays inside the hub's process: for clusters of mode Host, and for the hub's own cluster when the process has both roles.

use crate::objects::Objects;
use crate::pin::PinSender;
use crate::relay::{
    HostAttestor, KubernetesAttestor, PluginCache, Relay, RelayError, RelayOptions, RelayParts, RelayReport,
};
use gateway_oci::{Fetcher, FetcherOptions};
use multicluster_apply::HostTokens;
use operator_identity::{ClusterAuthority, FleetName};
use operator_translate::BindOptions;
use operator_xds_server::{Attestor, Ledger, Metrics};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The name in the certificate of a relay for Host clusters.
const HOST_SERVER_NAME: &str = "gatefleet-relay";
/// Added to ports below 1024 in pods; the Service maps them back.
const PRIVILEGED_OFFSET: u16 = 10_000;

/// Where members of this process's own find what they serve.
#[derive(Clone, Debug)]
pub enum LocalObjects {
    /// The hub's own cluster.
    Cluster(Objects),
    /// One store for each Host cluster, by name.
    Hosts(Arc<Mutex<BTreeMap<String, Objects>>>),
}

/// Settings of all relays in this process.
#[derive(Clone, Debug)]
pub struct LocalRelayOptions {
    /// Folder for plugin caches.
    pub state_dir: PathBuf,
    /// Registries that are spoken to in plain HTTP.
    pub plain_http_registries: Vec<String>,
    /// Sockets of the relay for the hub's own cluster; none where the process has no relay role.
    pub cluster_sockets: Option<(SocketAddr, SocketAddr)>,
    /// DNS name of the Service in front of this process.
    pub service: String,
}

/// A member that is served from this process.
#[derive(Debug)]
pub struct LocalMember {
    /// Its fleet.
    pub fleet: FleetName,
    /// Its FleetCluster.
    pub cluster: String,
    /// Where its gateways run.
    pub place: LocalPlace,
    /// Namespace of its workloads and pull Secrets.
    pub namespace: String,
    /// Roots of the fleet, PEM.
    pub trust_bundle: String,
    /// The cluster's intermediate.
    pub authority: ClusterAuthority,
}

/// Where the gateways of a local member run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalPlace {
    /// As pods of the hub's own cluster.
    Cluster,
    /// As processes of this machine.
    Host {
        /// Address that listeners bind.
        address: IpAddr,
        /// Added to every port.
        port_offset: u16,
    },
}

/// A relay as the hub uses it.
#[derive(Clone, Debug)]
pub struct LocalRelay {
    /// Takes the member's pins.
    pub pins: PinSender,
    /// Tells what the gateways make of them.
    pub reports: watch::Receiver<RelayReport>,
    /// Transitions of its gateways with time stamps.
    pub ledger: Ledger,
    /// ADS address for gateways, `host:port`.
    pub xds: String,
    /// Issuance address for gateways, `host:port`.
    pub issuer: String,
    /// Name in its certificate.
    pub server_name: String,
    relay: Arc<Relay>,
}

impl LocalRelay {
    /// Signs with a renewed intermediate from now on.
    ///
    /// # Errors
    /// Where it cannot sign; the old one stays.
    pub fn replace_authority(
        &self,
        authority: ClusterAuthority,
        trust_bundle: String,
    ) -> Result<(), RelayError> {
        self.relay.replace_authority(authority, trust_bundle)
    }
}

/// Why a local relay cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LocalRelayError {
    /// Its sockets cannot be bound.
    #[error("relay of {cluster}: cannot listen on {address}; free the port")]
    Bind {
        /// The FleetCluster.
        cluster: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing to serve from.
    #[error("cluster {0} has no objects in this process")]
    NoObjects(String),
    /// The process's relay sockets serve another fleet already.
    #[error(
        "the relay in this process serves another fleet; run the operator with role hub alone, so that each fleet gets relays of its own"
    )]
    Taken,
    /// It cannot identify itself.
    #[error(transparent)]
    Relay(#[from] RelayError),
}

type MemberName = (FleetName, String);

/// All relays of this process.
#[derive(Clone, Debug)]
pub struct LocalRelays {
    options: LocalRelayOptions,
    objects: LocalObjects,
    tokens: HostTokens,
    metrics: Metrics,
    running: Arc<Mutex<BTreeMap<MemberName, (LocalRelay, CancellationToken)>>>,
    stop: CancellationToken,
}

impl LocalRelays {
    /// No relay yet; all of them end with `stop`.
    #[must_use]
    pub fn new(
        options: LocalRelayOptions,
        objects: LocalObjects,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        Self { options, objects, tokens: HostTokens::default(), metrics, running: Arc::default(), stop }
    }

    /// Tokens of the gateways that host backends start.
    #[must_use]
    pub fn tokens(&self) -> HostTokens {
        self.tokens.clone()
    }

    /// Whether pods of the hub's own cluster are served from this process.
    #[must_use]
    pub fn serves_cluster(&self) -> bool {
        self.options.cluster_sockets.is_some()
    }

    /// A member's relay where it runs.
    #[must_use]
    pub fn get(&self, fleet: &FleetName, cluster: &str) -> Option<LocalRelay> {
        self.running.lock().get(&(fleet.clone(), cluster.to_owned())).map(|(relay, _)| relay.clone())
    }

    /// The relay of a member; started on the first call.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn ensure(&self, member: LocalMember) -> Result<LocalRelay, LocalRelayError> {
        if let Some(relay) = self.get(&member.fleet, &member.cluster) {
            return Ok(relay);
        }
        let name = (member.fleet.clone(), member.cluster.clone());
        let stop = self.stop.child_token();
        let relay = self.start(member, stop.clone()).await?;
        self.running.lock().insert(name, (relay.clone(), stop));
        Ok(relay)
    }

    /// Ends the relay of a member that is gone.
    pub fn remove(&self, fleet: &FleetName, cluster: &str) {
        if let Some((_, stop)) = self.running.lock().remove(&(fleet.clone(), cluster.to_owned())) {
            stop.cancel();
        }
    }

    async fn start(
        &self,
        member: LocalMember,
        stop: CancellationToken,
    ) -> Result<LocalRelay, LocalRelayError> {
        let LocalMember { fleet, cluster, place, namespace, trust_bundle, authority } = member;
        let objects = self.objects_of(&cluster)?;
        let (xds, issuer, names) = self.sockets(place, &cluster).await?;
        let (xds_port, issuer_port) = (port_of(&xds), port_of(&issuer));
        let host = names.first().cloned().unwrap_or_default();
        let dial = if place == LocalPlace::Cluster { host.clone() } else { Ipv4Addr::LOCALHOST.to_string() };
        let attestor = self.attestor(place, &objects, &authority, &fleet);
        let fetcher = Fetcher::new(FetcherOptions {
            cache: self.options.state_dir.join("plugins"),
            plain_http: self.options.plain_http_registries.clone(),
        });
        let plugin_source = format!("https://{dial}:{issuer_port}");
        let bind = bind_options(place);
        let options = RelayOptions {
            fleet,
            cluster,
            bind,
            plugin_source,
            server_names: names,
            trust_bundle,
            authority,
        };
        let (pins, receiver) = watch::channel(None);
        let parts = RelayParts {
            pins: receiver,
            plugins: PluginCache::new(fetcher, objects.clone(), namespace),
            objects,
            attestor,
            xds,
            issuer,
            metrics: self.metrics.clone(),
        };
        let relay = Relay::start(options, parts, stop)?;
        Ok(LocalRelay {
            pins,
            reports: relay.reports.clone(),
            ledger: relay.ledger.clone(),
            xds: format!("{dial}:{xds_port}"),
            issuer: format!("{dial}:{issuer_port}"),
            server_name: host,
            relay: Arc::new(relay),
        })
    }

    fn objects_of(&self, cluster: &str) -> Result<Objects, LocalRelayError> {
        match &self.objects {
            LocalObjects::Cluster(objects) => Ok(objects.clone()),
            LocalObjects::Hosts(stores) => stores
                .lock()
                .get(cluster)
                .cloned()
                .ok_or_else(|| LocalRelayError::NoObjects(cluster.to_owned())),
        }
    }

    async fn sockets(
        &self,
        place: LocalPlace,
        cluster: &str,
    ) -> Result<(TcpListener, TcpListener, Vec<String>), LocalRelayError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (xds, issuer, names) = match (place, self.options.cluster_sockets) {
            (LocalPlace::Host { .. }, _) => {
                (any, any, vec![HOST_SERVER_NAME.to_owned(), Ipv4Addr::LOCALHOST.to_string()])
            }
            (LocalPlace::Cluster, Some(_)) if self.cluster_taken() => return Err(LocalRelayError::Taken),
            (LocalPlace::Cluster, Some((xds, issuer))) => (xds, issuer, service_names(&self.options.service)),
            (LocalPlace::Cluster, None) => return Err(LocalRelayError::NoObjects(cluster.to_owned())),
        };
        let bound = |address: SocketAddr| async move {
            TcpListener::bind(address).await.map_err(|source| LocalRelayError::Bind {
                cluster: cluster.to_owned(),
                address,
                source,
            })
        };
        Ok((bound(xds).await?, bound(issuer).await?, names))
    }

    fn cluster_taken(&self) -> bool {
        let own = |relay: &LocalRelay| relay.server_name != HOST_SERVER_NAME;
        self.running.lock().values().any(|(relay, _)| own(relay))
    }

    fn attestor(
        &self,
        place: LocalPlace,
        objects: &Objects,
        authority: &ClusterAuthority,
        fleet: &FleetName,
    ) -> Arc<dyn Attestor> {
        let trust_domain = authority.trust_domain().to_owned();
        match (place, objects.client()) {
            (LocalPlace::Cluster, Some(client)) => Arc::new(KubernetesAttestor::new(
                client.clone(),
                trust_domain,
                authority.cluster().to_owned(),
                fleet.clone(),
            )),
            _ => Arc::new(HostAttestor::new(self.tokens.clone(), trust_domain)),
        }
    }
}

fn bind_options(place: LocalPlace) -> BindOptions {
    match place {
        LocalPlace::Cluster => {
            BindOptions { privileged_port_offset: PRIVILEGED_OFFSET, ..BindOptions::default() }
        }
        LocalPlace::Host { address, port_offset } => BindOptions {
            address: address.to_string(),
            privileged_port_offset: 0,
            port_offset,
            ..BindOptions::default()
        },
    }
}

/// `name.namespace.svc` as gateways of any namespace write it, short and long.
fn service_names(service: &str) -> Vec<String> {
    let mut names = vec![service.to_owned(), format!("{service}.cluster.local")];
    names.extend(service.strip_suffix(".svc").map(str::to_owned));
    names
}

fn port_of(listener: &TcpListener) -> u16 {
    // A bound listener always has an address.
    listener.local_addr().map_or(0, |address| address.port())
}
