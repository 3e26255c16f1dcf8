// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gRPC service `AggregatedDiscoveryService`, with responses that share their resources' bytes.

use super::{Peer, Shared};
use crate::stream::{Delta, OUTBOUND, Protocol, Sotw, serve};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

#[derive(Clone)]
pub(super) struct AdsService {
    shared: Arc<Shared>,
}

impl AdsService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn method<P>(self, request: http::Request<Body>) -> http::Response<Body>
    where
        P: Protocol,
        P::Request: prost::Message + Default,
        P::Response: Default,
    {
        let limit = self.shared.limits.request_bytes;
        let codec = ProstCodec::<P::Response, P::Request>::default();
        let method = Method::<P> { shared: self.shared, protocol: std::marker::PhantomData };
        Grpc::new(codec).max_decoding_message_size(limit).streaming(method, request).await
    }
}

impl NamedService for AdsService {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for AdsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            Ok(match method {
                "DeltaAggregatedResources" => service.method::<Delta>(request).await,
                "StreamAggregatedResources" => service.method::<Sotw>(request).await,
                _ => Status::unimplemented("unknown method").into_http(),
            })
        })
    }
}

struct Method<P> {
    shared: Arc<Shared>,
    protocol: std::marker::PhantomData<P>,
}

impl<P> StreamingService<P::Request> for Method<P>
where
    P: Protocol,
    P::Request: prost::Message + Default,
{
    type Response = P::Response;
    type ResponseStream = BoxStream<'static, Result<P::Response, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<P::Request>>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let permit = shared.streams.clone().try_acquire_owned().map_err(|_| {
                shared.metrics.refused.inc();
                Status::resource_exhausted("too many streams on this relay")
            })?;
            let peer = request.extensions().get::<Peer>().cloned();
            let peer = peer.ok_or_else(|| Status::unauthenticated("no client certificate"))?;
            let inbound = request.into_inner();
            let (sender, receiver) = mpsc::channel(OUTBOUND);
            tokio::spawn(async move {
                serve::<P>(shared, peer, inbound, sender).await;
                drop(permit);
            });
            let outbound: Self::ResponseStream = Box::pin(ReceiverStream::new(receiver).map(|item| item));
            Ok(Response::new(outbound))
        })
    }
}
