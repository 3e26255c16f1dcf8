// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sending a request over a connection of the pool, and what its outcome says about the host.

use crate::RequestBody;
use crate::body::UpstreamBody;
use crate::clock;
use crate::error::{SendError, SendErrorKind};
use crate::health_check::IMMEDIATE_FAILURE;
use crate::host::{CheckFlags, HostState, Outcome};
use crate::lease::{Lease, Link};
use crate::pool::HostPool;
use crate::raw;
use crate::registry::ClusterState;
use crate::switch::Switch;
use crate::wire;
use gateway_config::{Cluster, RoutingPriority};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Connections that may turn out dead before a request is given up; a fresh one follows in any case.
const STALE_LIMIT: usize = 8;

/// Counts a request as active on its cluster and host.
#[derive(Debug)]
pub(crate) struct ActiveRequest {
    state: Arc<ClusterState>,
    host: Arc<HostState>,
    begun: Instant,
    priority: RoutingPriority,
}

impl ActiveRequest {
    /// None where the cluster's limit of requests is reached.
    pub(crate) fn begin(
        state: &Arc<ClusterState>,
        host: &Arc<HostState>,
        limit: u32,
        priority: RoutingPriority,
    ) -> Option<Self> {
        if !state.requests().take(priority, limit) {
            state.metrics.upstream_rq_pending_overflow.add(1);
            return None;
        }
        host.begin();
        Some(Self { state: Arc::clone(state), host: Arc::clone(host), begun: clock::now(), priority })
    }

    /// A connection takes the request.
    fn count_sent(&self) {
        self.state.metrics.upstream_rq_total.add(1);
    }

    /// The answer is complete.
    pub(crate) fn count_time(&self) {
        let time = clock::now().saturating_duration_since(self.begun);
        self.state.metrics.upstream_rq_time.observe(time);
    }

    pub(crate) fn count_reset(&self) {
        self.state.metrics.upstream_rq_rx_reset.add(1);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.state.requests().release(self.priority);
        self.host.end();
    }
}

/// Whether an answer is counted by its status here; else the caller does so, once it knows whether the answer is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    Here,
    ByCaller,
}

/// Sends a request to one host.
pub(crate) async fn send<B: RequestBody>(
    pool: Rc<HostPool<B>>,
    host: &Arc<HostState>,
    cluster: &Cluster,
    mut request: Request<B>,
    counting: Counting,
) -> Result<Response<UpstreamBody<B>>, SendError<B>> {
    let state = &pool.state;
    let priority = pool.key.priority;
    let limit = cluster.limits.of(priority).max_requests;
    let Some(active) = ActiveRequest::begin(state, host, limit, priority) else {
        return Err(SendError::unsent(SendErrorKind::Overflow, request, None));
    };
    if request.extensions().get::<Switch>().is_some_and(Switch::ends_here) {
        return Box::pin(terminate(&pool, host, cluster, request, (active, counting))).await;
    }
    let mut stale = 0;
    loop {
        let mut lease = match pool.checkout().await {
            Ok(lease) => lease,
            Err(error) => {
                let kind = error.kind();
                if kind != SendErrorKind::Overflow {
                    state.report(host, Outcome::Failure, cluster);
                }
                return Err(SendError::unsent(kind, request, Some(Box::new(error))));
            }
        };
        host.reached();
        if stale == 0 {
            active.count_sent();
        }
        if let Err(error) = wire::prepare(&mut request, lease.is_http2(), pool.settings.scheme()) {
            return Err(SendError::unsent(SendErrorKind::Request, request, Some(Box::new(error))));
        }
        let (reused, connect) = (lease.reused, *request.method() == Method::CONNECT);
        match transmit(&mut lease, request).await {
            Ok(response) => {
                if !cluster.health_checks.is_empty() && response.headers().contains_key(&IMMEDIATE_FAILURE) {
                    state.metrics.health_check_passive_failure.add(1);
                    state.checked(host, host.checks().with(CheckFlags::FAILED).with(CheckFlags::EXCLUDED));
                }
                if counting == Counting::Here {
                    state.metrics.count_status(response.status());
                }
                state.report(host, Outcome::Status(response.status()), cluster);
                return Ok(with_body(response, lease, active, connect));
            }
            Err((unsent, error)) => match unsent {
                // Nothing was sent: the connection was dead already.
                Some(unsent) if reused && stale < STALE_LIMIT => {
                    stale += 1;
                    request = unsent;
                }
                unsent => {
                    let error = failure(error, unsent);
                    if error.kind != SendErrorKind::Request {
                        state.metrics.upstream_rq_rx_reset.add(1);
                        state.report(host, Outcome::Failure, cluster);
                    }
                    return Err(error);
                }
            },
        }
    }
}

/// Connects to the host for a request whose bytes pass as they are; the connection is the answer.
async fn terminate<B: RequestBody>(
    pool: &HostPool<B>,
    host: &Arc<HostState>,
    cluster: &Cluster,
    request: Request<B>,
    (active, counting): (ActiveRequest, Counting),
) -> Result<Response<UpstreamBody<B>>, SendError<B>> {
    match raw::open(&pool.target(), host, cluster, pool.key.priority).await {
        Ok(connection) => {
            host.reached();
            active.count_sent();
            if counting == Counting::Here {
                pool.state.metrics.count_status(StatusCode::OK);
            }
            Ok(Response::new(UpstreamBody::raw(connection, active)))
        }
        Err(error) => Err(SendError::unsent(error.kind(), request, Some(Box::new(error)))),
    }
}

/// Why nothing came back: the request where nothing of it was sent, and what the connection said.
type TransmitError<B> = (Option<Request<B>>, Option<hyper::Error>);

async fn transmit<B: RequestBody>(
    lease: &mut Lease<B>,
    request: Request<B>,
) -> Result<Response<Incoming>, TransmitError<B>> {
    let result = match lease.start() {
        Some(Link::Http1(connection)) => connection.sender.try_send_request(request).await,
        Some(Link::Http2(connection)) => connection.sender.clone().try_send_request(request).await,
        None => return Err((Some(request), None)),
    };
    result.map_err(|mut error| (error.take_message(), Some(error.into_error())))
}

fn with_body<B: RequestBody>(
    response: Response<Incoming>,
    lease: Lease<B>,
    active: ActiveRequest,
    connect: bool,
) -> Response<UpstreamBody<B>> {
    let switched =
        response.status() == StatusCode::SWITCHING_PROTOCOLS || (connect && response.status().is_success());
    response.map(|incoming| match switched {
        true => UpstreamBody::switched(incoming, lease, active),
        false => UpstreamBody::new(incoming, lease, active),
    })
}

fn failure<B>(error: Option<hyper::Error>, unsent: Option<Request<B>>) -> SendError<B> {
    let Some(error) = error else {
        return SendError {
            kind: SendErrorKind::Reset,
            sent: unsent.is_none(),
            request: unsent.map(Box::new),
            source: None,
        };
    };
    let refused = stream_error(&error).is_some_and(|h2| {
        let reason = h2.reason();
        reason == Some(h2::Reason::REFUSED_STREAM)
            || (h2.is_go_away() && h2.is_remote() && reason == Some(h2::Reason::NO_ERROR))
    });
    let reset = stream_error(&error).is_some_and(|h2| h2.is_reset() && h2.is_remote());
    let kind = if refused {
        SendErrorKind::Refused
    } else if reset {
        SendErrorKind::RemoteReset
    } else if error.is_user() || error.is_body_write_aborted() {
        SendErrorKind::Request
    } else if error.is_parse() {
        SendErrorKind::Protocol
    } else {
        SendErrorKind::Reset
    };
    let sent = unsent.is_none() && !refused && !error.is_canceled();
    SendError { kind, sent, request: unsent.map(Box::new), source: Some(Box::new(error)) }
}

fn stream_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref::<h2::Error>() {
            return Some(found);
        }
        next = source.source();
    }
    None
}
