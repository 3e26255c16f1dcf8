// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Calls to services: how filters, plugins and exporters reach a configured cluster from a worker.
//!
//! A call goes the way of every request: the newest snapshot's cluster, its balancer, outlier ejection, circuit breakers, TLS and the
//! worker's pools. What a caller gets besides:
//! - [`Callout::http`]: a whole answer, limited in time and size; [`Callout::http_retried`]: the same with retries.
//! - [`Callout::unary`]: gRPC over the cluster's HTTP/2 connections, messages framed by hand; [`Callout::stream`]: messages both ways.
//!
//! Dropping a future takes its call back. No call is ever tried without a time limit (of a stream, the caller's for each wait), and every error says what went wrong, so that the
//! caller decides between refusing and going on. Nothing here is logged or counted but by the cluster.

mod framing;
mod grpc;
mod stream;

pub(crate) use grpc::GrpcError;
pub(crate) use stream::GrpcStream;

use crate::request_body::RequestBody;
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use gateway_config::ServiceRetries;
use gateway_upstream::{PickContext, PickError, Picked, SendErrorKind, UpstreamBody};
use http::{Request, Response};
use http_body::Body;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The most bytes that an answer may have where the caller says nothing else.
pub(crate) const MAX_ANSWER: usize = 1 << 20;

/// Why a call got no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The cluster is not in the configuration, or has no host that takes requests.
    #[error("{0}")]
    Pick(#[from] PickError),
    /// No answer came.
    #[error("{0}")]
    Send(SendErrorKind),
    /// The time ran out.
    #[error("the service did not answer in time")]
    Timeout,
    /// The answer broke off.
    #[error("the service's answer broke off")]
    Broken,
    /// The answer has more bytes than allowed.
    #[error("the service's answer is too large")]
    TooLarge,
}

/// A worker's way to services. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Callout {
    worker: Rc<Worker>,
}

impl Callout {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        Self { worker: Rc::clone(worker) }
    }

    /// Sends a request to a cluster: the host that is asked, and the wait for the answer's head. The future owns all it needs.
    fn open(
        &self,
        cluster: &str,
        request: Request<RequestBody>,
    ) -> Result<(Asked, impl Future<Output = Result<Head, CallError>> + 'static), CallError> {
        let upstreams = self.worker.upstreams().clone();
        let picked = upstreams.pick(&self.worker.snapshot(), cluster, &PickContext::default())?;
        let asked = picked.clone();
        let opening = async move {
            upstreams.send(&picked, request).await.map_err(|error| CallError::Send(error.kind))
        };
        Ok((asked, opening))
    }

    /// Calls an HTTP service; the answer is complete. `limit` is for all of it, `max` for its body, bytes.
    pub(crate) async fn http(
        &self,
        cluster: &str,
        request: Request<Bytes>,
        limit: Duration,
        max: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let deadline = Instant::now() + limit;
        let request = request.map(|body| match body.is_empty() {
            true => RequestBody::default(),
            false => RequestBody::copy(vec![body]),
        });
        let (asked, opening) = self.open(cluster, request)?;
        let call = async {
            let (parts, body) = opening.await?.into_parts();
            Ok(Response::from_parts(parts, collect(body, max).await?))
        };
        timeout_at(deadline, call).await.unwrap_or_else(|_| {
            timed_out(&asked);
            Err(CallError::Timeout)
        })
    }

    /// The same, tried again where no answer comes or one of 5xx; the last one counts. Each try has `limit`.
    pub(crate) async fn http_retried(
        &self,
        cluster: &str,
        request: Request<Bytes>,
        limit: Duration,
        retries: ServiceRetries,
    ) -> Result<Response<Bytes>, CallError> {
        let mut backoff = Backoff::new(retries);
        loop {
            let result = self.http(cluster, request.clone(), limit, MAX_ANSWER).await;
            let failed = match &result {
                Ok(answer) => answer.status().is_server_error(),
                Err(CallError::TooLarge) => false,
                Err(_) => true,
            };
            match backoff.next().filter(|_| failed) {
                Some(wait) => sleep(wait).await,
                None => return result,
            }
        }
    }
}

/// The head of an answer, with its body to come.
type Head = Response<UpstreamBody<RequestBody>>;
/// The host that a call went to.
type Asked = Picked<RequestBody>;

/// A host did not answer in time: that counts against it like in any other request.
fn timed_out(asked: &Asked) {
    asked.report_timeout();
    asked.state().metrics.upstream_rq_timeout.add(1);
}

/// The waits between tries.
#[derive(Debug)]
struct Backoff {
    retries: ServiceRetries,
    done: u32,
}

impl Backoff {
    fn new(retries: ServiceRetries) -> Self {
        Self { retries, done: 0 }
    }

    /// The next wait; none where no try is left.
    fn next(&mut self) -> Option<Duration> {
        let ServiceRetries { count, base, max } = self.retries;
        if self.done >= count {
            return None;
        }
        let below = base.saturating_mul(1_u32.checked_shl(self.done).unwrap_or(u32::MAX)).min(max);
        self.done += 1;
        Some(below.mul_f64(rand::random::<f64>()))
    }
}

/// All of a body.
async fn collect(mut body: UpstreamBody<RequestBody>, max: usize) -> Result<Bytes, CallError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame.map_err(|_| CallError::Broken)?.into_data() else { continue };
        if whole.len() + data.len() > max {
            return Err(CallError::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use gateway_config::ServiceRetries;
    use std::time::Duration;

    #[test]
    fn waits_grow_and_end() {
        let retries =
            ServiceRetries { count: 40, base: Duration::from_millis(100), max: Duration::from_millis(250) };
        let mut backoff = Backoff::new(retries);
        for limit in [100, 200, 250, 250].into_iter().chain([250; 36]) {
            assert!(backoff.next().unwrap() <= Duration::from_millis(limit));
        }
        assert_eq!(backoff.next(), None);
    }
}
