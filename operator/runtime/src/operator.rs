// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `gatefleet operator`: the roles of one process, its health and its metrics.

use crate::args::{OperatorArgs, Role};
use crate::hub::{self, HostPrograms, HubOptions, RelayHost};
use crate::local_relays::{LocalObjects, LocalRelayOptions, LocalRelays};
use crate::objects::{KubernetesObjects, Objects};
use crate::relay_role;
use anyhow::{Context, bail};
use gateway_telemetry::{
    LogOptions, OPENMETRICS_CONTENT_TYPE, Page, PageServer, Pages, ProcessMetrics, Readiness, Shutdown,
    encode_metrics, init_logs, register_build_info,
};
use http::StatusCode;
use multicluster_apply::HostTokens;
use operator_xds_server::Metrics;
use prometheus_client::registry::Registry;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs the roles until SIGTERM or SIGINT.
///
/// # Errors
/// Where arguments do not fit, no API server is configured, or a port is taken.
pub async fn operator(args: OperatorArgs) -> anyhow::Result<()> {
    init_logs(&LogOptions { filter: args.log.clone(), format: args.log_format })
        .context("cannot set logging up")?;
    let shutdown = Shutdown::on_signals().context("cannot handle signals")?;
    let stop = shutdown.requested.clone();
    let mut registry = Registry::default();
    register_build_info(&mut registry, "operator");
    registry.register_collector(Box::new(ProcessMetrics));
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    let readiness = Readiness::default();
    let started = readiness.gate("started");
    let server = PageServer::bind(args.http_listen).await.with_context(|| {
        format!("cannot listen on {}; free the port or name another with --http-listen", args.http_listen)
    })?;
    let pages = Arc::new(pages(Arc::new(registry), readiness.clone()));
    let pages = tokio::spawn(server.serve(pages, stop.clone()));
    let client =
        kube::Client::try_default().await.context("no API server; run in a cluster or set KUBECONFIG")?;
    if args.has(Role::Hub) {
        started.set(true);
        run_hub(&args, client, metrics, stop.clone()).await?;
    } else if args.has(Role::Relay) {
        relay_role::run(&args, client, metrics, started, stop.clone()).await?;
    } else {
        bail!("--roles names no role; say hub, relay or hub,relay");
    }
    stop.cancel();
    // A page server that broke has told so already.
    let _ = pages.await;
    Ok(())
}

async fn run_hub(
    args: &OperatorArgs,
    client: kube::Client,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let objects = Objects::Kubernetes(KubernetesObjects::new(client));
    let tokens = HostTokens::default();
    let relays = LocalRelays::new(
        LocalRelayOptions {
            state_dir: args.state_dir.join("relay"),
            plain_http_registries: args.plain_http_registries.clone(),
            cluster_sockets: (args.xds_listen, args.issuer_listen),
            service: args.service.clone(),
        },
        LocalObjects::Cluster(objects.clone()),
        tokens.clone(),
        metrics,
        stop.clone(),
    );
    let wanted = args.has(Role::Relay) || args.gateway_program.is_some();
    let host = args.gateway_program.clone().map(|gateway| HostPrograms {
        gateway,
        own: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("gatefleet")),
        state_dir: args.state_dir.join("clusters"),
        tokens,
    });
    let options = HubOptions {
        objects,
        namespace: args.namespace.clone(),
        identity: args.pod.clone(),
        operator_image: args.operator_image.clone(),
        gateway_image: args.gateway_image.clone(),
        relay_arguments: relay_arguments(args),
        relays: wanted.then(|| Arc::new(relays) as Arc<dyn RelayHost>),
        host,
    };
    hub::run(options, stop).await;
    Ok(())
}

/// What relays in member clusters are told beside who they are.
fn relay_arguments(args: &OperatorArgs) -> Vec<String> {
    let mut arguments = Vec::new();
    if !args.plain_http_registries.is_empty() {
        arguments.push(format!("--plain-http-registries={}", args.plain_http_registries.join(",")));
    }
    arguments
}

fn pages(registry: Arc<Registry>, readiness: Readiness) -> Pages {
    Pages::new()
        .get("/healthz", |_| Page::text(StatusCode::OK, "ok\n"))
        .get("/readyz", move |_| {
            if readiness.is_ready() {
                Page::text(StatusCode::OK, "ready\n")
            } else {
                let waiting = readiness.waiting_for().join(", ");
                Page::text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {waiting}\n"))
            }
        })
        .get("/metrics", move |_| Page::typed(OPENMETRICS_CONTENT_TYPE, encode_metrics(&registry)))
}
