// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The issuance port: certificates for attested workloads, plugins by digest.

mod throttle;

use crate::server::{Handshake, ServeError, accept_loop};
use crate::{Limits, Metrics, ServerTls};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use operator_identity::{ClusterAuthority, IdentityError, IssuedCertificate, WorkloadIdentity};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use throttle::Throttle;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Why a token proves no identity.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// It is not valid, or not for a gateway of this cluster.
    #[error("token refused: {0}")]
    Refused(String),
    /// The authority on tokens cannot be asked now.
    #[error("tokens cannot be checked now: {0}")]
    Unavailable(String),
}

/// Finds out who holds a token.
#[async_trait]
pub trait Attestor: Send + Sync + 'static {
    /// The identity behind a token.
    ///
    /// # Errors
    /// Where the token is refused or cannot be checked.
    async fn attest(&self, token: &str) -> Result<WorkloadIdentity, AttestError>;
}

/// Why a plugin cannot be handed out now.
#[derive(Debug, thiserror::Error)]
#[error("plugin unavailable: {0}")]
pub struct PluginError(pub String);

/// Holds plugin modules by the SHA-256 of their bytes.
#[async_trait]
pub trait PluginStore: Send + Sync + 'static {
    /// The module of a digest (64 lower-case hex digits); none where it is not known.
    ///
    /// # Errors
    /// Where it is known but cannot be had now.
    async fn plugin(&self, sha256: &str) -> Result<Option<Bytes>, PluginError>;
}

/// The cluster's authority, replaced when the hub renews it.
#[derive(Clone, Debug)]
pub struct SharedAuthority(Arc<ArcSwap<ClusterAuthority>>);

impl SharedAuthority {
    /// Signs with `authority`.
    #[must_use]
    pub fn new(authority: ClusterAuthority) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(authority)))
    }

    /// Signs with another authority from now on.
    pub fn replace(&self, authority: ClusterAuthority) {
        self.0.store(Arc::new(authority));
    }

    /// The authority that signs now.
    #[must_use]
    pub fn current(&self) -> Arc<ClusterAuthority> {
        self.0.load_full()
    }
}

/// What the issuance port answers from.
#[derive(Clone)]
pub struct Issuer {
    /// Signs certificates.
    pub authority: SharedAuthority,
    /// Checks tokens.
    pub attestor: Arc<dyn Attestor>,
    /// Holds plugins.
    pub plugins: Arc<dyn PluginStore>,
    /// Bounds.
    pub limits: Limits,
    /// Figures.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("authority", &self.authority)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Body of `POST /v1/certificate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateRequest {
    /// The signing request in PEM.
    csr: String,
    /// The caller's token.
    token: String,
}

/// Answer of `POST /v1/certificate`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateAnswer {
    /// Leaf and intermediate in PEM.
    chain: String,
    /// RFC 3339.
    not_after: String,
}

/// A refusal with the status that it travels under.
struct Refusal(StatusCode, String);

/// Serves certificates and plugins with server TLS on a bound socket until `stop`.
///
/// # Errors
/// Where the socket fails.
pub async fn serve_issuer(
    listener: TcpListener,
    tls: Arc<ServerTls>,
    issuer: Issuer,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let limits = issuer.limits;
    let port =
        Arc::new(Port { throttle: Throttle::new(limits.issue_burst, limits.issue_per_second), issuer });
    let until = stop.clone();
    let finish = move |handshake: Handshake| serve_connection(port.clone(), handshake, until.clone());
    Ok(accept_loop(listener, move || tls.server(), limits, stop, finish).await?)
}

struct Port {
    issuer: Issuer,
    throttle: Throttle<IpAddr>,
}

async fn serve_connection(port: Arc<Port>, handshake: Handshake, stop: CancellationToken) {
    let Handshake { stream, address, permit } = handshake;
    let limits = port.issuer.limits;
    let service = service_fn(move |request| {
        let port = port.clone();
        async move { Ok::<_, Infallible>(port.respond(request, address).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.handshake);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive)
        .max_concurrent_streams(16);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // What is under way may finish; a quiet connection ends at once.
            timeout(limits.issue_time, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(peer = %address, error = &*error, "issuance connection broke");
    }
    drop(permit);
}

impl Port {
    async fn respond(&self, request: Request<Incoming>, source: SocketAddr) -> Response<Full<Bytes>> {
        let answer = match timeout(self.issuer.limits.issue_time, self.route(request, source)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal(StatusCode::GATEWAY_TIMEOUT, "took too long".to_owned())),
        };
        answer.unwrap_or_else(|Refusal(status, reason)| {
            debug!(peer = %source, %status, reason, "request refused");
            let body = serde_json::json!({ "error": reason }).to_string();
            response(status, "application/json", body.into())
        })
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        source: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "/v1/certificate") => self.certificate(request, source).await,
            (&Method::GET, path) => match path.strip_prefix("/v1/plugins/") {
                Some(digest) => self.plugin(digest).await,
                None => Err(Refusal(StatusCode::NOT_FOUND, "no such resource".to_owned())),
            },
            (_, "/v1/certificate") => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST".to_owned())),
            _ => Err(Refusal(StatusCode::NOT_FOUND, "no such resource".to_owned())),
        }
    }

    async fn certificate(
        &self,
        request: Request<Incoming>,
        source: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let metrics = &self.issuer.metrics;
        if !self.throttle.admit(source.ip(), Instant::now()) {
            metrics.issued("throttled");
            return Err(Refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests from this address".to_owned(),
            ));
        }
        let result = self.issue(request.into_body()).await;
        metrics.issued(match &result {
            Ok(_) => "issued",
            Err(Refusal(status, _)) if status.is_server_error() => "failed",
            Err(_) => "refused",
        });
        let (identity, issued) = result.inspect_err(|Refusal(status, reason)| {
            warn!(peer = %source, %status, reason, "certificate refused");
        })?;
        info!(peer = %source, node = identity.node_id(), not_after = %issued.not_after, "certificate issued");
        let answer = CertificateAnswer { chain: issued.chain_pem, not_after: issued.not_after.to_string() };
        let body = serde_json::to_vec(&answer)
            .map_err(|e| Refusal(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
        Ok(response(StatusCode::OK, "application/json", body.into()))
    }

    async fn issue(&self, body: Incoming) -> Result<(WorkloadIdentity, IssuedCertificate), Refusal> {
        let body = Limited::new(body, self.issuer.limits.issue_bytes).collect().await;
        let body =
            body.map_err(|_| Refusal(StatusCode::PAYLOAD_TOO_LARGE, "body too large or cut off".to_owned()))?;
        let asked: CertificateRequest = serde_json::from_slice(&body.to_bytes())
            .map_err(|e| Refusal(StatusCode::BAD_REQUEST, format!("malformed request: {e}")))?;
        let identity = self.issuer.attestor.attest(&asked.token).await.map_err(|error| {
            let status = match &error {
                AttestError::Refused(_) => StatusCode::FORBIDDEN,
                AttestError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            Refusal(status, error.to_string())
        })?;
        let issued = self.issuer.authority.current().issue(&asked.csr, &identity, Timestamp::now());
        let issued = issued.map_err(|error| {
            let status = match &error {
                IdentityError::Request(_) | IdentityError::RequestSize { .. } => StatusCode::BAD_REQUEST,
                IdentityError::ForeignCluster { .. } | IdentityError::Name { .. } => StatusCode::FORBIDDEN,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            Refusal(status, error.to_string())
        })?;
        Ok((identity, issued))
    }

    async fn plugin(&self, digest: &str) -> Result<Response<Full<Bytes>>, Refusal> {
        if digest.len() != 64 || !digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Refusal(StatusCode::BAD_REQUEST, "not a sha256 in lower-case hex".to_owned()));
        }
        match self.issuer.plugins.plugin(digest).await {
            Ok(Some(module)) => Ok(response(StatusCode::OK, "application/wasm", module)),
            Ok(None) => Err(Refusal(StatusCode::NOT_FOUND, "plugin not known to this relay".to_owned())),
            Err(error) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
