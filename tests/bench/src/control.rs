// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A control plane for one gateway: delta ADS over mutual TLS, issuance, and the gateway's bootstrap file. Each line of its input names
//! a domain, which is served from then on.

use crate::issuer::Authority;
use crate::resources;
use anyhow::Context;
use clap::Args;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

const RELAY: &str = "gatefleet-relay";
/// Resources in one response, so that each stays well below the limit of a message.
const AT_ONCE: usize = 2000;
/// What a gateway of ours subscribes to as a whole.
const WHOLE: [ResourceType; 3] = [ResourceType::Cluster, ResourceType::Listener, ResourceType::VirtualHost];

/// What is served, and where the gateway's files go.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder for the gateway's bootstrap, token and roots.
    #[arg(long)]
    folder: PathBuf,
    /// The gateway's plain listener.
    #[arg(long)]
    pub(crate) plain: SocketAddr,
    /// The gateway's TLS listener.
    #[arg(long)]
    pub(crate) tls: SocketAddr,
    /// HTTP/1.1 upstream.
    #[arg(long)]
    pub(crate) upstream: SocketAddr,
    /// gRPC upstream.
    #[arg(long)]
    pub(crate) grpc_upstream: SocketAddr,
    /// Certificate of the TLS listener, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// Its key, PEM.
    #[arg(long)]
    key: PathBuf,
    /// Admin, readiness and metrics of the gateway.
    #[arg(long, num_args = 3)]
    pages: Vec<SocketAddr>,
    /// Virtual hosts `h<n>.test` to begin with.
    #[arg(long, default_value_t = 0)]
    hosts: usize,
    /// Any other host is served as well.
    #[arg(long)]
    any_host: bool,
}

/// All resources, and news of further ones.
#[derive(Clone)]
struct Served {
    resources: Arc<Mutex<HashMap<ResourceType, Vec<Resource>>>>,
    news: broadcast::Sender<Resource>,
}

/// Serves until its input ends.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let (chain, key) = authority.server(RELAY)?;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(chain, key))
        .client_ca_root(Certificate::from_pem(&authority.root));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let ads = listener.local_addr()?;
    let root = authority.root.clone();
    let issuer = authority.serve(RELAY).await?;
    let served = Served { resources: Arc::new(Mutex::new(all(&options)?)), news: broadcast::channel(1024).0 };
    let router = Server::builder()
        .tcp_nodelay(true)
        .tls_config(tls)?
        .add_service(AggregatedDiscoveryServiceServer::new(served.clone()));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    // Written last: its presence tells that everything else is there.
    write_files(&options, &root, ads, issuer)?;
    let (lines, mut domains) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(domain) = domains.recv().await {
        let (kind, resource) = resources::virtual_host(domain.trim(), false);
        served.add(kind, &resource);
        // No stream is open where nobody listens: the next one gets everything.
        drop(served.news.send(resource));
    }
    Ok(())
}

fn all(options: &Options) -> anyhow::Result<HashMap<ResourceType, Vec<Resource>>> {
    let certificate = (fs::read_to_string(&options.certificate)?, fs::read_to_string(&options.key)?);
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    let hosts = (0..options.hosts).map(|host| resources::virtual_host(&format!("h{host}.test"), false));
    let any = options.any_host.then(|| resources::virtual_host("*", true));
    for (kind, resource) in resources::fixed(options, certificate).into_iter().chain(hosts).chain(any) {
        all.entry(kind).or_default().push(resource);
    }
    Ok(all)
}

fn write_files(options: &Options, root: &str, ads: SocketAddr, issuer: SocketAddr) -> anyhow::Result<()> {
    let path = |name: &str| options.folder.join(name);
    let [admin, readiness, metrics] = options.pages[..] else { anyhow::bail!("three pages") };
    fs::write(path("ca.crt"), root)?;
    fs::write(path("token"), "token")?;
    let show = |path: &Path| path.display().to_string();
    let yaml = format!(
        "node: {{cluster: c, namespace: gateways, pod: edge-1}}\nfleet: {{namespace: gateways, name: edge}}\n\
         relay: {{address: \"{ads}\", issuer: \"{issuer}\", serverName: {RELAY}}}\ntrustBundle: {}\n\
         tokenFile: {}\nstateDir: {}\nadmin: {admin}\nreadiness: {readiness}\nmetrics: {metrics}\n\
         drainSeconds: 1\nworkers: 1\n",
        show(&path("ca.crt")),
        show(&path("token")),
        show(&path("state")),
    );
    fs::write(path("bootstrap.new"), yaml)?;
    fs::rename(path("bootstrap.new"), path("bootstrap.yaml")).context("bootstrap")?;
    Ok(())
}

impl Served {
    fn add(&self, kind: ResourceType, resource: &Resource) {
        self.resources.lock().entry(kind).or_default().push(resource.clone());
    }

    /// The resources that a request asks for.
    fn asked(&self, kind: ResourceType, request: &DeltaDiscoveryRequest, first: bool) -> Vec<Resource> {
        let resources = self.resources.lock();
        let all = resources.get(&kind).map(Vec::as_slice).unwrap_or_default();
        if WHOLE.contains(&kind) {
            return if first { all.to_vec() } else { Vec::new() };
        }
        all.iter().filter(|r| request.resource_names_subscribe.contains(&r.name)).cloned().collect()
    }

    async fn stream(
        self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    ) {
        let mut news = self.news.subscribe();
        let mut seen = Vec::new();
        let mut nonce = 0_u64;
        loop {
            let (kind, resources) = tokio::select! {
                request = requests.message() => {
                    let Ok(Some(request)) = request else { return };
                    if let Some(error) = &request.error_detail {
                        say(&format!("refused: {} {}", request.type_url, error.message));
                    }
                    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { continue };
                    let first = !seen.contains(&kind);
                    seen.push(kind);
                    let resources = self.asked(kind, &request, first);
                    if resources.is_empty() && !(first && WHOLE.contains(&kind)) {
                        continue;
                    }
                    (kind, resources)
                }
                resource = news.recv() => {
                    let Ok(resource) = resource else { continue };
                    (ResourceType::VirtualHost, vec![resource])
                }
            };
            let mut pieces: Vec<_> = resources.chunks(AT_ONCE).map(<[Resource]>::to_vec).collect();
            if pieces.is_empty() {
                pieces.push(Vec::new());
            }
            for resources in pieces {
                nonce += 1;
                let response = DeltaDiscoveryResponse {
                    type_url: kind.type_url().into(),
                    nonce: nonce.to_string(),
                    resources,
                    ..DeltaDiscoveryResponse::default()
                };
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn say(text: &str) {
    drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes()));
}

type Responses<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Served {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, outgoing) = mpsc::channel(64);
        tokio::spawn(self.clone().stream(request.into_inner(), responses));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
