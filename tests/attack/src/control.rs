// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The control plane of the gateway's process: resources over delta ADS, which may change while it is served.

use crate::resources::Typed;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use gateway_xds_api::pb::google::protobuf::Any;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// What is there comes before what uses it; removals follow in the same order reversed.
const ORDER: [ResourceType; 6] = [
    ResourceType::Cluster,
    ResourceType::ClusterLoadAssignment,
    ResourceType::Secret,
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
    ResourceType::VirtualHost,
];

/// Time for the gateway to answer a change.
const ANSWER: Duration = Duration::from_secs(10);

/// A control plane; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) address: SocketAddr,
    ads: Ads,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Ads {
    state: Arc<Mutex<State>>,
    /// The newest revision.
    changed: Arc<watch::Sender<u64>>,
    /// The newest revision to which the gateway has answered.
    answered: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    /// Each with the revision that brought it.
    resources: BTreeMap<(&'static str, String), (u64, Any)>,
    revision: u64,
    rejected: Vec<String>,
}

impl Control {
    /// Serves resources on a port of its own.
    pub(crate) async fn start(resources: Vec<Typed>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let ads = Ads {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
            answered: Arc::new(watch::Sender::new(0)),
        };
        ads.change(resources, &[]);
        let router = Server::builder().add_service(AggregatedDiscoveryServiceServer::new(ads.clone()));
        let task = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, ads, task })
    }

    /// What the gateway would not take.
    pub(crate) fn rejected(&self) -> Vec<String> {
        self.ads.state.lock().rejected.clone()
    }

    /// Forgets what the gateway would not take, and tells it.
    pub(crate) fn take_rejected(&self) -> Vec<String> {
        std::mem::take(&mut self.ads.state.lock().rejected)
    }

    /// Changes resources and waits until the gateway has answered, whatever it says.
    pub(crate) async fn change(
        &self,
        resources: Vec<Typed>,
        gone: &[(ResourceType, &str)],
    ) -> anyhow::Result<()> {
        let revision = self.ads.change(resources, gone);
        let mut answered = self.ads.answered.subscribe();
        let answer = answered.wait_for(|answered| *answered >= revision);
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(_)) => Ok(()),
            _ => anyhow::bail!("the gateway does not answer to revision {revision}"),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ads {
    fn change(&self, resources: Vec<Typed>, gone: &[(ResourceType, &str)]) -> u64 {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        for typed in resources {
            state.resources.insert((typed.kind.type_url(), typed.name), (revision, typed.body));
        }
        for (kind, name) in gone {
            state.resources.remove(&(kind.type_url(), (*name).to_owned()));
        }
        drop(state);
        self.changed.send_replace(revision);
        revision
    }
}

/// What one stream has been told.
#[derive(Default)]
struct Told {
    /// By type: the revision of each resource.
    sent: HashMap<&'static str, HashMap<String, u64>>,
    /// Types that were asked for and not answered yet: the first answer may be empty.
    asked: Vec<&'static str>,
    /// Responses that the gateway has not answered.
    open: usize,
    revision: u64,
}

impl Told {
    /// What has changed of the types that were asked for, in order.
    fn responses(&mut self, state: &State) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        for kind in ORDER {
            let url = kind.type_url();
            let Some(sent) = self.sent.get_mut(url) else { continue };
            let current = || state.resources.iter().filter(|((of, _), _)| *of == url);
            let mut resources = Vec::new();
            for ((_, name), (revision, body)) in current() {
                if sent.get(name) != Some(revision) {
                    sent.insert(name.clone(), *revision);
                    resources.push(Resource {
                        name: name.clone(),
                        version: revision.to_string(),
                        resource: Some(body.clone()),
                        ..Resource::default()
                    });
                }
            }
            let mut removed: Vec<String> = sent.keys().cloned().collect();
            removed.retain(|name| current().all(|((_, of), _)| of != name));
            sent.retain(|name, _| !removed.contains(name));
            let first = self.asked.contains(&url);
            if first || !resources.is_empty() || !removed.is_empty() {
                responses.push(response(kind, state.revision, resources, removed));
            }
        }
        self.asked.clear();
        self.revision = state.revision;
        self.open += responses.len();
        responses
    }
}

fn response(
    kind: ResourceType,
    revision: u64,
    resources: Vec<Resource>,
    removed_resources: Vec<String>,
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        resources,
        removed_resources,
        type_url: kind.type_url().to_owned(),
        nonce: format!("{kind} {revision}"),
        ..DeltaDiscoveryResponse::default()
    }
}

type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
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
        tokio::spawn(self.clone().serve(request.into_inner(), responses));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

impl Ads {
    async fn serve(
        self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    ) {
        let mut told = Told::default();
        let mut changes = self.changed.subscribe();
        loop {
            tokio::select! {
                request = requests.message() => {
                    let Ok(Some(request)) = request else { return };
                    self.note(&mut told, &request);
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            let next = told.responses(&self.state.lock());
            for response in next {
                if responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            if told.open == 0 {
                self.answered.send_replace(told.revision);
            }
        }
    }

    fn note(&self, told: &mut Told, request: &DeltaDiscoveryRequest) {
        if let Some(error) = &request.error_detail {
            self.state.lock().rejected.push(error.message.clone());
        }
        if !request.response_nonce.is_empty() {
            told.open = told.open.saturating_sub(1);
        }
        if let Some(kind) = ResourceType::from_type_url(&request.type_url) {
            let url = kind.type_url();
            if !told.sent.contains_key(url) {
                told.sent.insert(url, HashMap::new());
                told.asked.push(url);
            }
        }
    }
}
