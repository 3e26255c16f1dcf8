// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Why no host could be picked, and why a request got no answer.

use http::Request;
use std::error::Error;
use std::fmt;

/// Why no host could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// The cluster is not in the configuration.
    #[error("unknown cluster")]
    NoCluster,
    /// It has no endpoint that takes requests.
    #[error("no healthy endpoint")]
    NoHealthy,
}

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// No connection could be made.
    Connect,
    /// Connecting took too long.
    ConnectTimeout,
    /// A limit of the cluster (circuit breaker) refused it.
    Overflow,
    /// The peer refused the stream without handling it.
    Refused,
    /// The connection ended before an answer.
    Reset,
    /// The peer reset the stream before an answer.
    RemoteReset,
    /// The answer is not HTTP.
    Protocol,
    /// The request's own body failed (the client went away) or the request cannot be sent.
    Request,
}

impl fmt::Display for SendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect failure",
            Self::ConnectTimeout => "connect timeout",
            Self::Overflow => "overflow",
            Self::Refused => "refused stream",
            Self::Reset => "connection closed before an answer",
            Self::RemoteReset => "stream reset before an answer",
            Self::Protocol => "upstream protocol error",
            Self::Request => "request failed",
        })
    }
}

/// Why a request got no answer.
pub struct SendError<B> {
    /// What went wrong.
    pub kind: SendErrorKind,
    /// Bytes of the request may have reached the upstream's application.
    pub sent: bool,
    /// The request, where nothing of it was used: it may be sent elsewhere.
    pub request: Option<Box<Request<B>>>,
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
}

impl<B> SendError<B> {
    pub(crate) fn unsent(
        kind: SendErrorKind,
        request: Request<B>,
        source: Option<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, sent: false, request: Some(Box::new(request)), source }
    }
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.kind)
            .field("sent", &self.sent)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl<B> SendError<B> {
    /// What kept a connection from coming up, in Envoy's words where it has any (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`); none where one was there.
    #[must_use]
    pub fn transport_failure(&self) -> Option<String> {
        let system = |error: &std::io::Error| {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        };
        Some(match self.source.as_deref()?.downcast_ref::<ConnectError>()? {
            ConnectError::Tcp(error) => format!("delayed connect error: {}", system(error)),
            ConnectError::Tls(error) => format!("TLS error: {}", system(error)),
            ConnectError::Timeout | ConnectError::Overflow | ConnectError::Closed => return None,
            error => error.to_string(),
        })
    }
}

impl<B> fmt::Display for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<B> Error for SendError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a connection could not be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name did not resolve.
    #[error("cannot resolve the endpoint's name")]
    Resolve(#[source] std::sync::Arc<std::io::Error>),
    /// TCP failed.
    #[error("cannot connect")]
    Tcp(#[source] std::sync::Arc<std::io::Error>),
    /// The proxy on the way does not lead to the endpoint.
    #[error("the proxy does not lead to the endpoint: {0}")]
    Proxy(std::sync::Arc<str>),
    /// TLS failed.
    #[error("cannot agree on tls")]
    Tls(#[source] std::sync::Arc<std::io::Error>),
    /// TLS is not set up.
    #[error("tls of the cluster is not ready: {0}")]
    TlsSettings(std::sync::Arc<str>),
    /// HTTP failed.
    #[error("cannot start http")]
    Http(#[source] std::sync::Arc<hyper::Error>),
    /// It took longer than the cluster's connect timeout.
    #[error("connecting took too long")]
    Timeout,
    /// The pool is going away.
    #[error("the endpoint is going away")]
    Closed,
    /// A limit of the cluster.
    #[error("too many requests wait for a connection")]
    Overflow,
}

impl ConnectError {
    pub(crate) fn kind(&self) -> SendErrorKind {
        match self {
            Self::Timeout => SendErrorKind::ConnectTimeout,
            Self::Overflow => SendErrorKind::Overflow,
            _ => SendErrorKind::Connect,
        }
    }
}
