// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! gRPC services that filters ask, and their configuration.

use gateway_xds_api::pb::envoy::config::core::v3::{GrpcService, HttpUri, grpc_service, http_uri};
use gateway_xds_api::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse,
    authorization_server::{Authorization, AuthorizationServer},
};
use gateway_xds_api::pb::envoy::service::ratelimit::v3::{
    RateLimitRequest, RateLimitResponse,
    rate_limit_service_server::{RateLimitService, RateLimitServiceServer},
};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Response, Status, async_trait};

/// A running server.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            router.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, task }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers by a function and keeps what it was asked.
pub(crate) struct Authorizer<F> {
    answer: F,
    asked: Arc<Mutex<Vec<CheckRequest>>>,
}

#[async_trait]
impl<F> Authorization for Authorizer<F>
where
    F: Fn(&CheckRequest) -> Result<CheckResponse, Status> + Send + Sync + 'static,
{
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let answer = (self.answer)(&request);
        self.asked.lock().push(request);
        answer.map(Response::new)
    }
}

/// An authorization service and what it was asked.
pub(crate) async fn authorizer<F>(answer: F) -> (Service, Arc<Mutex<Vec<CheckRequest>>>)
where
    F: Fn(&CheckRequest) -> Result<CheckResponse, Status> + Send + Sync + 'static,
{
    let asked = Arc::default();
    let service = Authorizer { answer, asked: Arc::clone(&asked) };
    let router = tonic::transport::Server::builder().add_service(AuthorizationServer::new(service));
    (Service::start(router).await, asked)
}

/// Answers by a function and keeps what it was asked.
pub(crate) struct Limiter<F> {
    answer: F,
    asked: Arc<Mutex<Vec<RateLimitRequest>>>,
}

#[async_trait]
impl<F> RateLimitService for Limiter<F>
where
    F: Fn(&RateLimitRequest) -> Result<RateLimitResponse, Status> + Send + Sync + 'static,
{
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = request.into_inner();
        let answer = (self.answer)(&request);
        self.asked.lock().push(request);
        answer.map(Response::new)
    }
}

/// A rate limit service and what it was asked.
pub(crate) async fn limiter<F>(answer: F) -> (Service, Arc<Mutex<Vec<RateLimitRequest>>>)
where
    F: Fn(&RateLimitRequest) -> Result<RateLimitResponse, Status> + Send + Sync + 'static,
{
    let asked = Arc::default();
    let service = Limiter { answer, asked: Arc::clone(&asked) };
    let router = tonic::transport::Server::builder().add_service(RateLimitServiceServer::new(service));
    (Service::start(router).await, asked)
}

/// The service behind a cluster.
pub(crate) fn grpc(cluster: &str, limit: Duration) -> GrpcService {
    GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
            cluster_name: cluster.to_owned(),
            ..Default::default()
        })),
        timeout: crate::config::time(limit),
        ..Default::default()
    }
}

pub(crate) fn http_uri(cluster: &str, uri: &str, limit: Duration) -> HttpUri {
    HttpUri {
        uri: uri.to_owned(),
        timeout: crate::config::time(limit),
        http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(cluster.to_owned())),
    }
}
