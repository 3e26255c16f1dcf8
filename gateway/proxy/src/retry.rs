// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which attempts are worth another one, where it goes and when.

use crate::answer::Failure;
use crate::request_body::{BodyError, BodySource, RequestBody};
use gateway_config::{RetryOn, RetryPolicy};
use gateway_filter_api::ResponseFlags;
use gateway_upstream::{HostState, PickContext, Picked, RetryPermit, SendError, SendErrorKind, UpstreamBody};
use http::{HeaderMap, Request, Response, StatusCode};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{sleep, timeout};

/// How one attempt ended.
#[allow(clippy::large_enum_variant, reason = "moved once, right after it is made")]
#[derive(Debug)]
pub(crate) enum Tried {
    /// An answer came.
    Answer(Response<UpstreamBody<RequestBody>>),
    /// None came.
    Error(SendError<RequestBody>),
    /// None came in the time of one attempt.
    TimedOut,
}

/// What follows from an attempt.
#[allow(clippy::large_enum_variant, reason = "moved once, right after it is made")]
#[derive(Debug)]
pub(crate) enum Attempt {
    /// This is the answer; whether another attempt would follow if there were one left.
    Answered(Response<UpstreamBody<RequestBody>>, bool),
    /// Once more; with the same request where nothing of it was sent.
    Again(Option<Box<Request<RequestBody>>>),
}

/// The attempts of one request.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    policy: Option<&'a RetryPolicy>,
    per_try: Option<Duration>,
    retries: u32,
    tried: Vec<Arc<HostState>>,
    permit: Option<RetryPermit>,
    /// What the last answer asks to wait.
    asked: Option<Duration>,
    timed_out: bool,
}

impl<'a> Tries<'a> {
    /// No attempt yet; `per_try` is the limit of each.
    pub(crate) fn new(policy: Option<&'a RetryPolicy>, per_try: Option<Duration>) -> Self {
        let idle = policy.and_then(|policy| policy.per_try_idle_timeout);
        // Before the head of the answer, nothing else can move.
        let per_try = [per_try, idle].into_iter().flatten().filter(|limit| !limit.is_zero()).min();
        Self { policy, per_try, retries: 0, tried: Vec::new(), permit: None, asked: None, timed_out: false }
    }

    /// Whether this is another attempt after one that took too long.
    pub(crate) fn follows_timeout(&self) -> bool {
        self.timed_out
    }

    /// Whether another attempt may follow the next one.
    pub(crate) fn may_retry(&self) -> bool {
        self.policy.is_some_and(|policy| self.retries < policy.attempts)
    }

    /// What picking should know.
    pub(crate) fn context(&self) -> PickContext<'_> {
        let avoid = self.policy.filter(|policy| policy.avoid_previous_hosts);
        match avoid {
            Some(policy) => PickContext {
                tried: &self.tried,
                attempts: policy.host_selection_attempts,
                ..PickContext::default()
            },
            None => PickContext::default(),
        }
    }

    /// Runs one attempt within its own time. By reference: each hand-over of the whole future would copy it.
    pub(crate) async fn attempt(
        &self,
        send: Pin<
            &mut impl Future<Output = Result<Response<UpstreamBody<RequestBody>>, SendError<RequestBody>>>,
        >,
    ) -> Tried {
        let result = match self.per_try {
            None => send.await,
            Some(limit) => match timeout(limit, send).await {
                Ok(result) => result,
                Err(_) => return Tried::TimedOut,
            },
        };
        result.map_or_else(Tried::Error, Tried::Answer)
    }

    /// Decides what follows.
    ///
    /// # Errors
    /// The failure to answer with, where no attempt follows and there is no answer to pass on.
    pub(crate) fn judge(
        &mut self,
        tried: Tried,
        picked: &Picked<RequestBody>,
        body: Option<&BodySource>,
    ) -> Result<Attempt, Failure> {
        if matches!(tried, Tried::TimedOut) {
            picked.report_timeout();
            picked.state().metrics.upstream_rq_per_try_timeout.add(1);
        }
        let worth = self.policy.is_some_and(|policy| is_worth_another(policy, &tried));
        let unsent = matches!(&tried, Tried::Error(error) if error.request.is_some());
        let sendable = unsent || body.is_none_or(BodySource::is_replayable);
        if worth && sendable && self.may_retry() {
            // The permit of the attempt that ended makes room for the next.
            self.permit = None;
            if let Some(permit) = picked.permit_retry() {
                self.permit = Some(permit);
                self.retries += 1;
                self.timed_out = matches!(tried, Tried::TimedOut);
                self.asked = match &tried {
                    Tried::Answer(response) => self.asked_wait(response.headers()),
                    _ => None,
                };
                let metrics = &picked.state().metrics;
                match self.asked {
                    Some(_) => metrics.upstream_rq_retry_backoff_ratelimited.add(1),
                    None => metrics.upstream_rq_retry_backoff_exponential.add(1),
                }
                self.tried.push(Arc::clone(picked.host()));
                if let Tried::Answer(response) = &tried {
                    picked.count_retried(response.status());
                }
                return Ok(Attempt::Again(if let Tried::Error(error) = tried {
                    error.request
                } else {
                    None
                }));
            }
        }
        let exhausted = worth && !self.may_retry();
        if exhausted {
            picked.state().metrics.upstream_rq_retry_limit_exceeded.add(1);
        }
        let result = match tried {
            Tried::Answer(response) => {
                picked.count_answer(response.status());
                if !worth && self.retries > 0 {
                    picked.state().metrics.upstream_rq_retry_success.add(1);
                }
                return Ok(Attempt::Answered(response, exhausted));
            }
            Tried::TimedOut => Failure { details: "upstream_per_try_timeout", ..Failure::TIMEOUT },
            Tried::Error(error) => failure(error.kind, self.retries > 0, body.and_then(BodySource::failure)),
        };
        // What the client did wrong is not the cluster's.
        if result.flags != ResponseFlags::DOWNSTREAM_TERMINATION {
            picked.count_answer(result.status);
        }
        let flags = if exhausted { result.flags | ResponseFlags::RETRY_LIMIT } else { result.flags };
        Err(Failure { flags, ..result })
    }

    fn asked_wait(&self, headers: &HeaderMap) -> Option<Duration> {
        let back_off = self.policy?.rate_limited.as_ref()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        back_off.wait(headers, now)
    }

    /// Waits before the next attempt: at random below a limit that doubles each time.
    pub(crate) async fn back_off(&self) {
        let Some(policy) = self.policy else { return };
        if let Some(asked) = self.asked {
            // Not all at the same moment.
            return sleep(asked.mul_f64(rand::random_range(1.0..=1.5))).await;
        }
        let doubled = policy
            .backoff_base
            .saturating_mul(1_u32.checked_shl(self.retries.saturating_sub(1)).unwrap_or(u32::MAX));
        let longest = doubled.min(policy.backoff_max.max(policy.backoff_base));
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        if nanos > 0 {
            sleep(Duration::from_nanos(rand::random_range(0..nanos))).await;
        }
    }
}

/// Envoy's `retry_on` (router, "x-envoy-retry-on"): a missing answer counts as a 5xx.
fn is_worth_another(policy: &RetryPolicy, tried: &Tried) -> bool {
    let any_reset = RetryOn::SERVER_ERROR.union(RetryOn::GATEWAY_ERROR).union(RetryOn::RESET);
    match tried {
        Tried::Answer(response) => policy.retries_answer(response.status(), response.headers()),
        Tried::TimedOut => policy.on.intersects(any_reset),
        Tried::Error(error) => match error.kind {
            SendErrorKind::Overflow | SendErrorKind::Request => false,
            SendErrorKind::Connect | SendErrorKind::ConnectTimeout => {
                policy.on.intersects(any_reset.union(RetryOn::CONNECT_FAILURE))
            }
            SendErrorKind::Refused => policy.on.intersects(any_reset.union(RetryOn::REFUSED_STREAM)),
            SendErrorKind::Reset | SendErrorKind::RemoteReset | SendErrorKind::Protocol => {
                policy.on.intersects(any_reset)
                    || (!error.sent && policy.on.intersects(RetryOn::RESET_BEFORE_REQUEST))
            }
        },
    }
}

/// Envoy's words for each way in which no answer came.
fn failure(kind: SendErrorKind, retried: bool, body: Option<BodyError>) -> Failure {
    macro_rules! words {
        ($reason:literal) => {
            if retried {
                concat!("upstream connect error or disconnect/reset before headers. retried and the latest reset reason: ", $reason)
            } else {
                concat!("upstream connect error or disconnect/reset before headers. reset reason: ", $reason)
            }
        };
    }
    let unavailable =
        |body, flags, details| Failure { status: StatusCode::SERVICE_UNAVAILABLE, body, flags, details };
    match (kind, body) {
        (_, Some(BodyError::Idle)) => Failure {
            status: StatusCode::REQUEST_TIMEOUT,
            body: "stream timeout",
            flags: ResponseFlags::STREAM_IDLE_TIMEOUT,
            details: "request_body_idle_timeout",
        },
        (_, Some(BodyError::Late)) => Failure {
            status: StatusCode::REQUEST_TIMEOUT,
            body: "request timeout",
            flags: ResponseFlags::default(),
            details: "request_overall_timeout",
        },
        (_, Some(_)) | (SendErrorKind::Request, None) => Failure {
            flags: ResponseFlags::DOWNSTREAM_TERMINATION,
            ..Failure::bad_request("request_body_failed")
        },
        (SendErrorKind::Connect, None) => unavailable(
            words!("remote connection failure"),
            ResponseFlags::UPSTREAM_FAILURE,
            "upstream_reset_before_response_started{remote_connection_failure}",
        ),
        (SendErrorKind::ConnectTimeout, None) => unavailable(
            words!("connection timeout"),
            ResponseFlags::UPSTREAM_FAILURE,
            "upstream_reset_before_response_started{connection_timeout}",
        ),
        (SendErrorKind::Overflow, None) => {
            let details = "upstream_reset_before_response_started{overflow}";
            unavailable(words!("overflow"), ResponseFlags::UPSTREAM_OVERFLOW, details)
        }
        (SendErrorKind::RemoteReset, None) => unavailable(
            words!("remote reset"),
            ResponseFlags::UPSTREAM_RESET,
            "upstream_reset_before_response_started{remote_reset}",
        ),
        (SendErrorKind::Refused, None) => unavailable(
            words!("remote refused stream reset"),
            ResponseFlags::UPSTREAM_RESET,
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
        ),
        (SendErrorKind::Reset, None) => unavailable(
            words!("connection termination"),
            ResponseFlags::UPSTREAM_TERMINATION,
            "upstream_reset_before_response_started{connection_termination}",
        ),
        (SendErrorKind::Protocol, None) => Failure {
            status: StatusCode::BAD_GATEWAY,
            body: words!("protocol error"),
            flags: ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
            details: "upstream_reset_before_response_started{protocol_error}",
        },
    }
}
