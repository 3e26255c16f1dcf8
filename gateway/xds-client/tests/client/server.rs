// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! An ADS server whose every stream is handed to the test, which plays the server's part.

use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use gateway_xds_api::pb::google::protobuf::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Nothing that a test waits for takes this long.
pub const LIMIT: Duration = Duration::from_secs(30);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub struct AdsServer {
    pub address: SocketAddr,
    streams: mpsc::Receiver<ServerStream>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for AdsServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One stream, as the server sees it.
pub struct ServerStream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    /// Serial number of the client's certificate, where it has one.
    pub serial: Option<String>,
}

impl AdsServer {
    pub async fn start(tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(8);
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let router = server.add_service(AggregatedDiscoveryServiceServer::new(Handler { streams: sender }));
        let serving = tokio::spawn(async move {
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, streams, serving }
    }

    pub async fn accept(&mut self) -> ServerStream {
        within("a stream", self.streams.recv()).await.unwrap()
    }
}

impl ServerStream {
    pub async fn request(&mut self) -> DeltaDiscoveryRequest {
        within("a request", self.requests.message()).await.unwrap().expect("the client ended the stream")
    }

    /// The requests that open a stream with the given number of types.
    pub async fn opening(&mut self, types: usize) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        for _ in 0..types {
            requests.push(self.request().await);
        }
        requests
    }

    /// The next request that answers a response.
    pub async fn answer(&mut self) -> DeltaDiscoveryRequest {
        let request = self.request().await;
        assert!(!request.response_nonce.is_empty(), "no answer: {request:?}");
        request
    }

    pub async fn send(&self, kind: ResourceType, nonce: &str, upserts: &[(&str, &str)], removals: &[&str]) {
        let resource = |(name, version): &(&str, &str)| Resource {
            name: (*name).into(),
            version: (*version).into(),
            resource: Some(Any { type_url: kind.type_url().into(), value: version.as_bytes().to_vec() }),
            ..Resource::default()
        };
        self.send_resources(kind, nonce, upserts.iter().map(resource).collect(), removals).await;
    }

    pub async fn send_resources(
        &self,
        kind: ResourceType,
        nonce: &str,
        resources: Vec<Resource>,
        removals: &[&str],
    ) {
        let response = DeltaDiscoveryResponse {
            type_url: kind.type_url().into(),
            nonce: nonce.into(),
            resources,
            removed_resources: removals.iter().map(|name| (*name).into()).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        self.responses.send(Ok(response)).await.unwrap();
    }

    pub async fn fail(self, status: Status) {
        self.responses.send(Err(status)).await.unwrap();
    }

    /// Waits until the client has left.
    pub async fn left(mut self) {
        let gone = async { while let Ok(Some(_)) = self.requests.message().await {} };
        within("the client to leave the stream", gone).await;
    }
}

struct Handler {
    streams: mpsc::Sender<ServerStream>,
}

type Responses<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Handler {
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
        let serial =
            request.peer_certs().and_then(|chain| chain.first().map(|leaf| super::authority::serial(leaf)));
        let (responses, outgoing) = mpsc::channel(64);
        let stream = ServerStream { requests: request.into_inner(), responses, serial };
        self.streams.send(stream).await.map_err(|_| Status::unavailable("test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
