// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Relays inside the hub's process: for clusters of mode Host, and for the hub's own cluster when the process has both roles.

use crate::hub::{RelayEndpoint, RelayHost, RelayRequest};
use crate::objects::Objects;
use crate::relay::{HostAttestor, KubernetesAttestor, PluginCache, Relay, RelayOptions, RelayParts};
use crds::{ClusterMode, HostSpec};
use gateway_oci::{Fetcher, FetcherOptions};
use multicluster_apply::{HostTokens, MemberKey};
use multicluster_manifests::RELAY_SERVER_NAME;
use operator_identity::{ClusterAuthority, FleetName};
use operator_translate::BindOptions;
use operator_xds_server::{Attestor, Ledger, Metrics};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where members of this process find their live objects.
#[derive(Clone, Debug)]
pub enum LocalObjects {
    /// The hub's own cluster, for all of them.
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
    /// Sockets (ADS, issuance) of the relay for the hub's own cluster.
    pub cluster_sockets: (SocketAddr, SocketAddr),
    /// DNS name of the Service in front of this process, `name.namespace.svc`.
    pub service: String,
}

#[derive(Debug)]
struct Running {
    relay: Relay,
    endpoint: RelayEndpoint,
    own_cluster: bool,
    stop: CancellationToken,
}

/// All relays of this process.
#[derive(Debug)]
pub struct LocalRelays {
    options: LocalRelayOptions,
    objects: LocalObjects,
    tokens: HostTokens,
    metrics: Metrics,
    running: Mutex<BTreeMap<MemberKey, Running>>,
    stop: CancellationToken,
}

impl LocalRelays {
    /// No relay yet; all of them end with `stop`. `tokens` are those of the gateways that host backends start.
    #[must_use]
    pub fn new(
        options: LocalRelayOptions,
        objects: LocalObjects,
        tokens: HostTokens,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        Self { options, objects, tokens, metrics, running: Mutex::default(), stop }
    }

    /// The ledger of a member's relay, where it runs.
    #[must_use]
    pub fn ledger(&self, member: &MemberKey) -> Option<Ledger> {
        self.running.lock().get(member).map(|running| running.relay.ledger.clone())
    }

    fn launch(&self, request: RelayRequest, own_cluster: bool) -> Result<Running, String> {
        let authority =
            ClusterAuthority::from_pem(request.authority).map_err(|e| crate::objects::chain(&e))?;
        let objects = self.objects_of(&request.member.cluster)?;
        let (addresses, names, dial) = self.places(own_cluster);
        let xds = bind(addresses.0)?;
        let issuer = bind(addresses.1)?;
        let (xds_port, issuer_port) = (port_of(&xds), port_of(&issuer));
        let fleet = FleetName {
            namespace: request.member.fleet_namespace.clone(),
            name: request.member.fleet.clone(),
        };
        let attestor = self.attestor(own_cluster, &objects, &authority, &fleet);
        let fetcher = Fetcher::new(FetcherOptions {
            cache: self.options.state_dir.join("plugins"),
            plain_http: self.options.plain_http_registries.clone(),
        });
        let options = RelayOptions {
            fleet,
            cluster: request.member.cluster,
            bind: bind_options(own_cluster, request.host),
            plugin_source: format!("https://{dial}:{issuer_port}"),
            server_names: names.clone(),
            trust_bundle: request.trust_bundle,
            authority,
        };
        let parts = RelayParts {
            pins: request.pins,
            plugins: PluginCache::new(fetcher, objects.clone(), request.target_namespace),
            objects,
            attestor,
            xds,
            issuer,
            metrics: self.metrics.clone(),
        };
        let stop = self.stop.child_token();
        let relay = Relay::start(options, parts, stop.clone()).map_err(|e| crate::objects::chain(&e))?;
        let endpoint = RelayEndpoint {
            address: format!("{dial}:{xds_port}"),
            issuer: format!("{dial}:{issuer_port}"),
            server_name: RELAY_SERVER_NAME.to_owned(),
            reports: relay.reports.clone(),
        };
        Ok(Running { relay, endpoint, own_cluster, stop })
    }

    fn objects_of(&self, cluster: &str) -> Result<Objects, String> {
        match &self.objects {
            LocalObjects::Cluster(objects) => Ok(objects.clone()),
            LocalObjects::Hosts(stores) => {
                let found = stores.lock().get(cluster).cloned();
                found.ok_or_else(|| format!("cluster {cluster} has no objects in this process"))
            }
        }
    }

    /// Addresses to listen on, names for the certificate, and the host that gateways dial.
    fn places(&self, own_cluster: bool) -> ((SocketAddr, SocketAddr), Vec<String>, String) {
        if own_cluster {
            return (
                self.options.cluster_sockets,
                server_names(&self.options.service),
                self.options.service.clone(),
            );
        }
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let local = Ipv4Addr::LOCALHOST.to_string();
        ((any, any), vec![RELAY_SERVER_NAME.to_owned(), local.clone()], local)
    }

    fn attestor(
        &self,
        own_cluster: bool,
        objects: &Objects,
        authority: &ClusterAuthority,
        fleet: &FleetName,
    ) -> Arc<dyn Attestor> {
        let trust_domain = authority.trust_domain().to_owned();
        match objects.client().filter(|_| own_cluster) {
            Some(client) => {
                let cluster = authority.cluster().to_owned();
                Arc::new(KubernetesAttestor::new(client.clone(), trust_domain, cluster, fleet.clone()))
            }
            None => Arc::new(HostAttestor::new(self.tokens.clone(), trust_domain)),
        }
    }
}

impl RelayHost for LocalRelays {
    fn start(&self, request: RelayRequest) -> Result<RelayEndpoint, String> {
        let member = request.member.clone();
        let own_cluster = request.mode != ClusterMode::Host;
        let mut running = self.running.lock();
        if let Some(held) = running.get(&member) {
            let authority =
                ClusterAuthority::from_pem(request.authority).map_err(|e| crate::objects::chain(&e))?;
            let replaced = held.relay.replace_authority(authority, request.trust_bundle);
            return replaced.map(|()| held.endpoint.clone()).map_err(|e| crate::objects::chain(&e));
        }
        if own_cluster && running.values().any(|held| held.own_cluster) {
            return Err("the relay in this process serves another fleet already; run the operator with role hub alone, \
                        so that each fleet gets relays of its own"
                .to_owned());
        }
        let started = self.launch(request, own_cluster)?;
        let endpoint = started.endpoint.clone();
        running.insert(member, started);
        Ok(endpoint)
    }

    fn stop(&self, member: &MemberKey) {
        if let Some(held) = self.running.lock().remove(member) {
            held.stop.cancel();
        }
    }
}

/// A relay's server is bound at once, so that a taken port is reported where the relay is asked for.
fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|error| format!("relay: cannot listen on {address}: {error}; free the port"))
}

fn bind_options(own_cluster: bool, host: Option<HostSpec>) -> BindOptions {
    if own_cluster {
        return BindOptions::default();
    }
    let host = host.unwrap_or_default();
    BindOptions {
        address: host.address,
        privileged_port_offset: 0,
        // The schema keeps it between 0 and 60000.
        port_offset: u16::try_from(host.port_offset).unwrap_or(0),
        ..BindOptions::default()
    }
}

/// The name that every relay's certificate has, and its Service `name.namespace.svc` in all forms.
pub(crate) fn server_names(service: &str) -> Vec<String> {
    let mut names =
        vec![RELAY_SERVER_NAME.to_owned(), service.to_owned(), format!("{service}.cluster.local")];
    names.extend(service.strip_suffix(".svc").map(str::to_owned));
    names
}

fn port_of(listener: &TcpListener) -> u16 {
    // A bound listener always has an address.
    listener.local_addr().map_or(0, |address| address.port())
}
