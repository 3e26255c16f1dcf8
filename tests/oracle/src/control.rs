// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The ADS server of both proxies: each node gets its own resources once; what it answers is kept.

use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// All resources of a node by their type.
pub(crate) type Resources = HashMap<ResourceType, Vec<Resource>>;

/// The server.
#[derive(Clone, Default)]
pub(crate) struct Control {
    nodes: Arc<Mutex<HashMap<String, Node>>>,
}

#[derive(Default)]
struct Node {
    resources: Resources,
    /// Types that were answered, and the texts of what was rejected.
    answered: HashSet<ResourceType>,
    rejected: Vec<String>,
}

impl Control {
    /// What a node gets when it asks.
    pub(crate) fn set(&self, node: &str, resources: Resources) {
        self.nodes.lock().insert(node.to_owned(), Node { resources, ..Node::default() });
    }

    /// Whether a node answered clusters and listeners, and its texts of rejections.
    pub(crate) fn answers(&self, node: &str) -> (bool, Vec<String>) {
        let nodes = self.nodes.lock();
        nodes.get(node).map_or((false, Vec::new()), |node| {
            let all = [ResourceType::Cluster, ResourceType::Listener];
            (all.iter().all(|kind| node.answered.contains(kind)), node.rejected.clone())
        })
    }

    /// Serves on a port of its own.
    pub(crate) async fn serve(&self) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Server::builder().add_service(
            AggregatedDiscoveryServiceServer::new(self.clone()).max_encoding_message_size(usize::MAX),
        );
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(address)
    }

    fn answer(&self, node: &str, request: &DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
        let kind = ResourceType::from_type_url(&request.type_url)?;
        let mut nodes = self.nodes.lock();
        let node = nodes.get_mut(node)?;
        if !request.response_nonce.is_empty() {
            node.answered.insert(kind);
            if let Some(error) = &request.error_detail {
                node.rejected.push(error.message.clone());
            }
            return None;
        }
        Some(DeltaDiscoveryResponse {
            resources: node.resources.get(&kind).cloned().unwrap_or_default(),
            type_url: request.type_url.clone(),
            nonce: kind.to_string(),
            ..DeltaDiscoveryResponse::default()
        })
    }
}

type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Control {
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
        let control = self.clone();
        tokio::spawn(async move {
            let mut node = String::new();
            while let Ok(Some(request)) = requests.message().await {
                if let Some(named) = &request.node {
                    node.clone_from(&named.id);
                }
                if let Some(response) = control.answer(&node, &request)
                    && responses.send(Ok(response)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
