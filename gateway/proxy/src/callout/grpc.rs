// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! gRPC over the pools: one message for one. Messages both ways are in [`super::stream`].

use super::framing::{Deframer, frame};
use super::{Asked, Backoff, CallError, Callout, timed_out};
use crate::request_body::RequestBody;
use gateway_config::GrpcService;
use gateway_upstream::UpstreamBody;
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use prost::Message;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// gRPC: UNAVAILABLE.
const UNAVAILABLE: u32 = 14;

/// Why a gRPC call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrpcError {
    /// There was no answer.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The service says so.
    #[error("the service answered with the gRPC status {0}")]
    Status(u32),
    /// The answer is not gRPC, or not the message that was expected.
    #[error("the service's answer is not the message that was expected")]
    Malformed,
    /// A message is larger than allowed.
    #[error("the service's message is too large")]
    TooLarge,
}

impl Callout {
    /// One message for one. `limit` holds where the service has no time limit of its own; a failed call is tried again as the service's
    /// configuration says, all within the limit.
    pub(crate) async fn unary<A: Message + Default>(
        &self,
        service: &GrpcService,
        path: &'static str,
        message: &impl Message,
        limit: Duration,
    ) -> Result<A, GrpcError> {
        let limit = service.timeout.unwrap_or(limit);
        let deadline = Instant::now() + limit;
        let framed = frame(message);
        let mut backoff = Backoff::new(service.retries);
        let asked = Cell::new(None);
        let tries = async {
            loop {
                let body = RequestBody::copy(vec![framed.clone()]);
                let result = self.once(service, path, body, (limit, &asked)).await;
                let again = matches!(result, Err(GrpcError::Call(_) | GrpcError::Status(UNAVAILABLE)));
                match backoff.next().filter(|_| again) {
                    Some(wait) => sleep(wait).await,
                    None => return result,
                }
            }
        };
        timeout_at(deadline, tries).await.unwrap_or_else(|_| {
            if let Some(asked) = asked.take() {
                timed_out(&asked);
            }
            Err(GrpcError::Call(CallError::Timeout))
        })
    }

    async fn once<A: Message + Default>(
        &self,
        service: &GrpcService,
        path: &'static str,
        body: RequestBody,
        (limit, asked): (Duration, &Cell<Option<Asked>>),
    ) -> Result<A, GrpcError> {
        let (picked, opening) = self.open(&service.cluster, request(service, path, body, Some(limit)))?;
        asked.set(Some(picked));
        let mut answer = Answer::new(opening.await?, service.max_message)?;
        asked.set(None);
        let message = answer.next().await?.ok_or(GrpcError::Malformed)?;
        match answer.next::<A>().await? {
            None => Ok(message),
            Some(_) => Err(GrpcError::Malformed),
        }
    }
}

/// The head of a call.
pub(super) fn request(
    service: &GrpcService,
    path: &'static str,
    body: RequestBody,
    limit: Option<Duration>,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for (name, value) in &service.metadata {
        headers.append(name, value.clone());
    }
    headers.insert(HOST, service.authority.clone());
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(limit) = limit
        && let Ok(value) = HeaderValue::try_from(format!("{}m", limit.as_millis().min(99_999_999)))
    {
        headers.insert(&GRPC_TIMEOUT, value);
    }
    request
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    body: UpstreamBody<RequestBody>,
    deframer: Deframer,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// Looks at the head.
    pub(super) fn new(response: Response<UpstreamBody<RequestBody>>, max: usize) -> Result<Self, GrpcError> {
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            return Err(GrpcError::Status(status_of_http(parts.status.as_u16())));
        }
        let grpc = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if parts.version != Version::HTTP_2 || !grpc {
            return Err(GrpcError::Malformed);
        }
        // Without a body the head has the trailers' fields.
        let trailers = body.is_end_stream().then_some(parts.headers);
        Ok(Self { body, deframer: Deframer::new(max), trailers })
    }

    /// The next message; none at the end of a call that went well.
    async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, GrpcError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub(super) fn poll_next<A: Message + Default>(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<A>, GrpcError>> {
        loop {
            if let Some(message) = self.deframer.next()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if let Some(trailers) = &self.trailers {
                return Poll::Ready(match (status_of(trailers)?, self.deframer.is_empty()) {
                    (0, true) => Ok(None),
                    (0, false) => Err(GrpcError::Malformed),
                    (status, _) => Err(GrpcError::Status(status)),
                });
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None | Some(Err(_)) => return Poll::Ready(Err(GrpcError::Call(CallError::Broken))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.deframer.push(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }
}

fn status_of(trailers: &HeaderMap) -> Result<u32, GrpcError> {
    let value = trailers.get(&GRPC_STATUS).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.parse().ok()).ok_or(GrpcError::Malformed)
}

/// gRPC, `http-grpc-status-mapping`.
fn status_of_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => UNAVAILABLE,
        _ => 2,
    }
}
