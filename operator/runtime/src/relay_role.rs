// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A relay on its own in a member cluster: finds its pin, its chunks and its identity there, and tells the hub what it sees.

mod identity;
mod revision_watch;
mod status;

use crate::OperatorArgs;
use crate::local_relays::server_names;
use crate::objects::{KubernetesObjects, Objects};
use crate::relay::{KubernetesAttestor, PluginCache, Relay, RelayOptions, RelayParts};
use anyhow::Context;
use gateway_oci::{Fetcher, FetcherOptions};
use gateway_telemetry::Gate;
use multicluster_manifests::relay_name;
use operator_identity::FleetName;
use operator_translate::BindOptions;
use operator_xds_server::Metrics;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Who a relay is.
#[derive(Clone, Debug)]
pub(crate) struct RelayName {
    /// Its fleet on the hub.
    pub(crate) fleet: FleetName,
    /// Its FleetCluster.
    pub(crate) cluster: String,
    /// The namespace that it runs in, with its pin and chunks.
    pub(crate) namespace: String,
    /// Its pod.
    pub(crate) pod: String,
}

impl RelayName {
    /// Name of its FleetMember.
    pub(crate) fn member(&self) -> String {
        format!("{}-{}", self.fleet.name, self.cluster)
    }

    fn read(args: &OperatorArgs) -> anyhow::Result<Self> {
        let fleet = args.fleet.as_deref().and_then(|fleet| fleet.split_once('/'));
        let (namespace, name) = fleet.context("--fleet NAMESPACE/NAME says which fleet a relay serves")?;
        let cluster =
            args.cluster.clone().context("--cluster NAME says which FleetCluster a relay runs in")?;
        Ok(Self {
            fleet: FleetName { namespace: namespace.to_owned(), name: name.to_owned() },
            cluster,
            namespace: args.namespace.clone(),
            pod: args.pod.clone(),
        })
    }
}

/// Runs the relay until `stop`. `ready` opens once a pinned revision is served.
///
/// # Errors
/// Where an argument is missing, a socket is taken, or the identity cannot be used.
pub(crate) async fn run(
    args: &OperatorArgs,
    client: kube::Client,
    metrics: Metrics,
    ready: Gate,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let name = RelayName::read(args)?;
    let objects = Objects::Kubernetes(KubernetesObjects::new(client.clone()));
    let bind = |address| async move {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; free the port"))
    };
    let (xds, issuer) = (bind(args.xds_listen).await?, bind(args.issuer_listen).await?);
    let mut identities = identity::follow(&objects, &name, stop.clone());
    let Some(identity) = identity::first(&mut identities, &stop).await else { return Ok(()) };

    let service = format!("{}.{}.svc", relay_name(&name.fleet.name), name.namespace);
    let trust_domain = identity.authority.trust_domain().to_owned();
    let attestor = KubernetesAttestor::new(client, trust_domain, name.cluster.clone(), name.fleet.clone());
    let fetcher = Fetcher::new(FetcherOptions {
        cache: args.state_dir.join("plugins"),
        plain_http: args.plain_http_registries.clone(),
    });
    let (pins, receiver) = watch::channel(None);
    let options = RelayOptions {
        fleet: name.fleet.clone(),
        cluster: name.cluster.clone(),
        bind: BindOptions::default(),
        plugin_source: format!("https://{service}:{}", args.issuer_listen.port()),
        server_names: server_names(&service),
        trust_bundle: identity.trust_bundle.clone(),
        authority: identity.authority,
    };
    let parts = RelayParts {
        pins: receiver,
        plugins: PluginCache::new(fetcher, objects.clone(), name.namespace.clone()),
        objects: objects.clone(),
        attestor: Arc::new(attestor),
        xds,
        issuer,
        metrics,
    };
    let relay = Relay::start(options, parts, stop.clone())?;
    tokio::select! {
        () = stop.cancelled() => {}
        () = revision_watch::run(&objects, &name, &pins) => {}
        () = identity::renew(&mut identities, &relay) => {}
        () = status::run(&objects, &name, relay.reports.clone(), &ready) => {}
    }
    Ok(())
}
