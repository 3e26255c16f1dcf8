// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Delays and aborts on purpose, as Envoy's fault filter does them.

use super::Counter;
use crate::routing::view;
use bytes::Bytes;
use gateway_config::{FaultAbortKind, FaultInjection, Fraction};
use gateway_filter_api::{
    FilterContext, HttpFilter, LocalResponse, Outcome, Pause, Phase, RequestHead, ResponseFlags,
};
use http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const DELAY: &str = "x-envoy-fault-delay-request";
const DELAY_SHARE: &str = "x-envoy-fault-delay-request-percentage";
const ABORT: &str = "x-envoy-fault-abort-request";
const ABORT_GRPC: &str = "x-envoy-fault-abort-grpc-request";
const ABORT_SHARE: &str = "x-envoy-fault-abort-request-percentage";
/// A header can not ask for more.
const LONGEST: Duration = Duration::from_secs(3600);

/// The filter's numbers on one worker, and the faults of all workers that are going on.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) delays_injected: Counter,
    pub(crate) aborts_injected: Counter,
    pub(crate) faults_overflow: Counter,
    pub(crate) active: Arc<AtomicU32>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Inject {
    config: Arc<FaultInjection>,
    counters: Counters,
    active: Option<Active>,
}

/// Counts a fault while it goes on.
#[derive(Debug)]
struct Active(Arc<AtomicU32>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inject {
    /// Nothing is decided yet.
    pub(crate) fn new(config: &Arc<FaultInjection>, counters: &Counters) -> Self {
        Self { config: Arc::clone(config), counters: counters.clone(), active: None }
    }

    /// Takes part in the faults that may go on at a time.
    fn begin(&mut self) -> bool {
        if self.active.is_some() {
            return true;
        }
        let before = self.counters.active.fetch_add(1, Ordering::Relaxed);
        let active = Active(Arc::clone(&self.counters.active));
        if self.config.max_active.is_some_and(|most| before >= most) {
            self.counters.faults_overflow.increment();
            return false;
        }
        self.active = Some(active);
        true
    }

    fn delay(&self, head: &RequestHead) -> Option<Duration> {
        let delay = self.config.delay?;
        let (duration, share) = match delay.fixed {
            Some(fixed) => (fixed, delay.share),
            None => {
                let millis: u64 = number(head, DELAY)?;
                (Duration::from_millis(millis), lowered(delay.share, head, DELAY_SHARE))
            }
        };
        share.accepts(rand::random()).then(|| duration.min(LONGEST)).filter(|duration| !duration.is_zero())
    }

    fn abort(&self, head: &RequestHead) -> Option<Box<LocalResponse>> {
        let abort = self.config.abort.as_ref()?;
        let (kind, share) = match abort.kind {
            FaultAbortKind::Header => {
                let http = number::<u16>(head, ABORT).filter(|status| (200..600).contains(status));
                let http = http.and_then(|status| StatusCode::from_u16(status).ok());
                let grpc = || number::<u32>(head, ABORT_GRPC).map(FaultAbortKind::Grpc);
                let kind = http.map(FaultAbortKind::Http).or_else(grpc)?;
                (kind, lowered(abort.share, head, ABORT_SHARE))
            }
            kind => (kind, abort.share),
        };
        if !share.accepts(rand::random()) {
            return None;
        }
        let (status, grpc_status) = match kind {
            FaultAbortKind::Http(status) => (status, None),
            FaultAbortKind::Grpc(status) => (http_status_of(status), Some(status)),
            FaultAbortKind::Header => return None,
        };
        let body = if abort.body.is_empty() { "fault filter abort" } else { &*abort.body };
        Some(Box::new(LocalResponse {
            body: Bytes::copy_from_slice(body.as_bytes()),
            grpc_status,
            ..LocalResponse::new(status, "fault_filter_abort")
        }))
    }

    fn abort_or_go_on(&mut self, context: &mut FilterContext<'_>) -> Outcome {
        match self.abort(context.request) {
            Some(answer) if self.begin() => {
                self.counters.aborts_injected.increment();
                *context.flags |= ResponseFlags::FAULT_INJECTED;
                self.active = None;
                Outcome::Respond(answer)
            }
            _ => {
                self.active = None;
                Outcome::Continue
            }
        }
    }
}

impl HttpFilter for Inject {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let view = view(context.request, 0);
        if !self.config.headers.iter().all(|header| header.is_match(&view)) {
            return Outcome::Continue;
        }
        match self.delay(context.request) {
            Some(delay) if self.begin() => {
                self.counters.delays_injected.increment();
                *context.flags |= ResponseFlags::DELAY_INJECTED;
                Outcome::Pause(Pause::until(tokio::time::sleep(delay)))
            }
            _ => self.abort_or_go_on(context),
        }
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, _phase: Phase) -> Outcome {
        self.abort_or_go_on(context)
    }

    fn is_finished(&self) -> bool {
        true
    }
}

fn number<T: std::str::FromStr>(head: &RequestHead, name: &str) -> Option<T> {
    head.headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A request may ask for less than the configured share, never for more.
fn lowered(share: Fraction, head: &RequestHead, name: &str) -> Fraction {
    match number::<u32>(head, name) {
        Some(numerator) => Fraction { numerator: numerator.min(share.numerator), ..share },
        None => share,
    }
}

/// The HTTP status for clients that do not speak gRPC (Envoy, `Grpc::Utility::grpcToHttpStatus`).
fn http_status_of(grpc: u32) -> StatusCode {
    match grpc {
        0 => StatusCode::OK,
        1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
