// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The control plane of a gateway under attack: one set of resources over delta ADS.

use crate::resources::Typed;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// A control plane; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) address: SocketAddr,
    rejected: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Ads {
    resources: Arc<Vec<Typed>>,
    rejected: Arc<Mutex<Vec<String>>>,
}

impl Control {
    /// Serves resources on a port of its own.
    pub(crate) async fn start(resources: Vec<Typed>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let rejected = Arc::default();
        let ads = Ads { resources: Arc::new(resources), rejected: Arc::clone(&rejected) };
        let router = Server::builder().add_service(AggregatedDiscoveryServiceServer::new(ads));
        let task = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, rejected, task })
    }

    /// What the gateway would not take.
    pub(crate) fn rejected(&self) -> Vec<String> {
        self.rejected.lock().clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ads {
    /// Everything of the type for who asks; nothing for an answer.
    fn answer(&self, request: &DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
        if let Some(error) = &request.error_detail {
            self.rejected.lock().push(error.message.clone());
        }
        let kind = ResourceType::from_type_url(&request.type_url)?;
        if !request.response_nonce.is_empty() {
            return None;
        }
        let resources = self.resources.iter().filter(|typed| typed.kind == kind).map(|typed| Resource {
            name: typed.name.clone(),
            version: "1".into(),
            resource: Some(typed.body.clone()),
            ..Resource::default()
        });
        Some(DeltaDiscoveryResponse {
            resources: resources.collect(),
            type_url: request.type_url.clone(),
            nonce: kind.to_string(),
            ..DeltaDiscoveryResponse::default()
        })
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
        let mut requests = request.into_inner();
        let (responses, outgoing) = mpsc::channel(16);
        let ads = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if let Some(response) = ads.answer(&request)
                    && responses.send(Ok(response)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
