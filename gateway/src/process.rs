// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The life of the process: last good configuration, then the relay's, then the drain.

use crate::args::Args;
use crate::consumer::GatewayConsumer;
use crate::last_good::{self, LastGood};
use crate::ledger::Ledger;
use crate::place::Place;
use crate::plugins::Plugins;
use crate::ready::{self, Gates};
use crate::takeover::{self, Predecessor};
use crate::{admin, allocator, memory_budget, metrics, source};
use anyhow::Context;
use bytes::Bytes;
use futures::future::join_all;
use gateway_config::{Bootstrap, ConfigStore, LocalZone};
use gateway_proxy::{ConnectionLimits, DrainOptions, Proxy, ProxyOptions};
use gateway_telemetry::{LogHandle, Pages, Readiness, Shutdown};
use gateway_wasm::{WasmHost, WasmLimits};
use gateway_xds_api::{ResourceType, pack_encoded};
use gateway_xds_client::{CertificateWatch, Client, ClientStatus, Subscriptions, WorkloadIdentity};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The longest that connections are still taken after a drain began: load balancers notice within this time.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// How long the last good configuration waits for its plugins before it is served without those that are missing.
const PLUGINS_FROM_DISK: Duration = Duration::from_secs(5);

/// What the parts of the process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) proxy: Proxy,
    pub(crate) store: Mutex<ConfigStore>,
    /// Never locked while the store is.
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) started: SystemTime,
    pub(crate) readiness: Readiness,
    /// A configuration was installed.
    pub(crate) changed: Notify,
    pub(crate) draining: CancellationToken,
    /// Told by `/healthcheck/fail`: load balancers should stay away.
    pub(crate) failing: AtomicBool,
    pub(crate) started_from_disk: bool,
    pub(crate) client: OnceLock<Arc<ClientStatus>>,
}

impl Shared {
    /// Whether the relay answered every type that is wanted.
    pub(crate) fn initial_state_is_complete(&self) -> bool {
        let view = self.client.get().map(|status| status.view());
        view.is_some_and(|view| view.streams > 0 && view.waiting_for.is_empty())
    }

    pub(crate) fn proxy_is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether somebody asked for failing health checks.
    pub(crate) fn fails_health_checks(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// Runs until told to end.
pub(crate) async fn run(bootstrap: Bootstrap, args: &Args, logs: LogHandle) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let predecessor = if args.take_over { find_predecessor(&bootstrap).await? } else { None };
    tracing::info!(node = bootstrap.node_id(), control_plane = bootstrap.ads_address(), "gateway starts");
    let host = WasmHost::new(WasmLimits::default());
    let last_good = LastGood::new(&bootstrap.state_dir);
    let (store, from_disk) = load(&last_good, bootstrap.local.clone());
    let proxy =
        Proxy::start(proxy_options(&bootstrap, args.bind.clone(), &host)).context("proxy cannot start")?;
    let shared = Arc::new(Shared {
        proxy,
        ledger: Mutex::new(ledger(&store)),
        store: Mutex::new(store),
        started: SystemTime::now(),
        readiness: Readiness::default(),
        changed: Notify::new(),
        draining: shutdown.requested.clone(),
        failing: AtomicBool::new(false),
        started_from_disk: from_disk,
        client: OnceLock::new(),
        bootstrap,
    });
    // Made before anything answers probes: without gates everything would be ready.
    let gates = Gates::new(&shared.readiness);
    let ending = CancellationToken::new();
    let identity = source::identity(&shared.bootstrap);
    let certificate = identity.as_ref().map_or_else(source::no_certificate, WorkloadIdentity::watch);
    let pages = pages(&shared, &host, certificate.clone(), logs);
    let mut place = Place::new(&shared, predecessor, pages, &ending).await?;

    let plugins = Plugins::new(host, source::relay(&shared.bootstrap), &shared.bootstrap.state_dir);
    let consumer = first_configuration(&shared, plugins).await;
    let client =
        Client::new(source::client(&shared.bootstrap, certificate), subscriptions(&shared), consumer);
    // Set once, here.
    let _ = shared.client.set(client.status());
    if let Some(identity) = identity {
        tokio::spawn(identity.run(ending.clone()));
    }
    tokio::spawn(client.run(ending.clone()));
    tokio::spawn(ready::watch(gates, shared.clone()));
    place.take(&shared, &ending).await?;
    tokio::spawn(last_good::keep(last_good, shared.clone()));

    tokio::select! {
        () = shutdown.requested.cancelled() => {}
        () = takeover::offer(&shared, &place.sockets, &ending) => shutdown.requested.cancel(),
    }
    drop(place);
    let deadline = Duration::from_secs(shared.bootstrap.drain_seconds);
    tokio::select! {
        report = shared.proxy.drain(deadline) => tracing::info!(forced = report.forced, took = ?report.took, "drained"),
        () = shutdown.forced.cancelled() => tracing::warn!("ended before connections did"),
    }
    ending.cancel();
    Ok(())
}

/// The versions of what was kept on disk are the content's.
fn ledger(store: &ConfigStore) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.note_kept(store.accepted().map(|(kind, name, value)| (kind, name, version(kind, name, value))));
    ledger
}

fn version(kind: ResourceType, name: &str, value: &Bytes) -> String {
    pack_encoded(kind, name, value.to_vec(), "").version
}

/// Reads what was kept on disk; a gateway without it waits for its relay.
fn load(last_good: &LastGood, local: Option<LocalZone>) -> (ConfigStore, bool) {
    let mut store = ConfigStore::at(local);
    let updates = last_good.load().unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "last good configuration is not used");
        Vec::new()
    });
    if updates.is_empty() {
        return (store, false);
    }
    let applied = store.apply_all(updates);
    for rejection in &applied.rejections {
        tracing::warn!(resource = rejection.name, rejection.message, "kept resource is not used");
    }
    let resources = store.accepted().count();
    tracing::info!(resources, "last good configuration read");
    (store, resources > 0)
}

/// Serves what came from disk, with the plugins that are there too; others come from the relay later, and their failure
/// policy holds until then.
async fn first_configuration(shared: &Arc<Shared>, plugins: Plugins) -> GatewayConsumer {
    let mut consumer = GatewayConsumer::new(shared.clone(), plugins.clone());
    if !shared.started_from_disk {
        return consumer;
    }
    let (snapshot, listeners) = {
        let store = shared.store.lock();
        // Not from the snapshot: a listener that waits for its certificate needs its plugins too.
        let listeners = store.accepted().filter(|(kind, ..)| *kind == ResourceType::Listener);
        let listeners: Vec<_> = listeners.map(|(_, name, value)| (name.to_owned(), value.clone())).collect();
        (store.snapshot().clone(), listeners)
    };
    let mut preparing = Vec::new();
    for (listener, value) in listeners {
        let named = consumer.note_listener(&listener, &value).into_iter();
        preparing.extend(named.map(|plugin| tokio::spawn(plugins.clone().prepare_in_the_end(plugin))));
    }
    // Plugins that are on disk are ready soon; serving before would answer by their failure policy.
    let _ = tokio::time::timeout(PLUGINS_FROM_DISK, join_all(preparing)).await;
    if let Err(error) = shared.proxy.install(snapshot).await {
        tracing::error!(%error, "last good configuration is not served in all parts");
    }
    consumer
}

/// Everything of our types; what is held already is not sent again. Versions are the content's.
fn subscriptions(shared: &Shared) -> Subscriptions {
    let mut subscriptions = Subscriptions::new(source::wildcards(&shared.bootstrap));
    for (kind, name, value) in shared.store.lock().accepted() {
        subscriptions.seed(kind, name, version(kind, name, value));
    }
    subscriptions
}

async fn find_predecessor(bootstrap: &Bootstrap) -> anyhow::Result<Option<Predecessor>> {
    let found = Predecessor::find(&bootstrap.state_dir).await?;
    if found.is_none() {
        tracing::info!(state_dir = %bootstrap.state_dir.display(), "there is no process whose place could be taken");
    }
    Ok(found)
}

/// The pages of each operations port.
fn pages(
    shared: &Arc<Shared>,
    host: &WasmHost,
    certificate: CertificateWatch,
    logs: LogHandle,
) -> Vec<(SocketAddr, Pages)> {
    let registry = Arc::new(metrics::registry(host, shared));
    let bootstrap = &shared.bootstrap;
    vec![
        (bootstrap.admin, admin::pages(shared, &registry, certificate, logs)),
        (bootstrap.readiness, admin::readiness(shared)),
        (bootstrap.metrics, metrics::pages(Pages::new(), shared, &registry)),
    ]
}

fn proxy_options(bootstrap: &Bootstrap, bind: Vec<(String, SocketAddr)>, host: &WasmHost) -> ProxyOptions {
    let deadline = Duration::from_secs(bootstrap.drain_seconds);
    let (limits, defaults) = (&bootstrap.limits, ConnectionLimits::default());
    ProxyOptions {
        memory: limits.memory_bytes().or_else(memory_budget::of_cgroup),
        release_memory: Some(allocator::release),
        connections: ConnectionLimits {
            process: limits.connections.unwrap_or(defaults.process),
            listener: limits.listener_connections.unwrap_or(defaults.listener),
            source: limits.source_connections.unwrap_or(defaults.source),
        },
        workers: bootstrap.workers,
        bind: bind.into_iter().collect(),
        drain: DrainOptions { accept_for: LONGEST_GRACE.min(deadline / 3), ..DrainOptions::default() },
        node_cluster: bootstrap.node_cluster().to_owned(),
        node_id: bootstrap.node_id(),
        plugins: Some(Arc::new(host.clone())),
        istio: bootstrap.istio_metrics.then(|| Arc::new(source::istio(bootstrap))),
        ..ProxyOptions::default()
    }
}
