// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Delays, aborts and slow answers on purpose, as Envoy's fault filter does them.

use super::{Counter, Site};
use crate::routing::view;
use bytes::{Bytes, BytesMut};
use gateway_config::{FaultAbortKind, FaultInjection, Fraction};
use gateway_filter_api::{
    FilterContext, HttpFilter, LocalResponse, Outcome, Pause, Phase, RequestHead, ResponseFlags,
};
use http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const DELAY: &str = "x-envoy-fault-delay-request";
const DELAY_SHARE: &str = "x-envoy-fault-delay-request-percentage";
const ABORT: &str = "x-envoy-fault-abort-request";
const ABORT_GRPC: &str = "x-envoy-fault-abort-grpc-request";
const ABORT_SHARE: &str = "x-envoy-fault-abort-request-percentage";
const RATE: &str = "x-envoy-fault-throughput-response";
const RATE_SHARE: &str = "x-envoy-fault-throughput-response-percentage";
/// A header can not ask for more.
const LONGEST: Duration = Duration::from_secs(3600);

/// The filter's numbers on one worker, and the faults of all workers that are going on.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) delays_injected: Counter,
    pub(crate) aborts_injected: Counter,
    pub(crate) rate_limits_injected: Counter,
    pub(crate) faults_overflow: Counter,
    pub(crate) active: Arc<AtomicU32>,
}

impl Counters {
    pub(crate) fn new(site: Site<'_>) -> Self {
        Self {
            delays_injected: site.http("http_fault_delays_injected"),
            aborts_injected: site.http("http_fault_aborts_injected"),
            rate_limits_injected: site.http("http_fault_response_rl_injected"),
            faults_overflow: site.http("http_fault_faults_overflow"),
            active: Arc::clone(&site.metrics.active_faults),
        }
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Inject {
    config: Arc<FaultInjection>,
    counters: Counters,
    active: Option<Active>,
    pace: Option<Pace>,
}

/// The pace of an answer's body.
#[derive(Debug)]
struct Pace {
    /// Bytes in a second, above zero.
    rate: u64,
    /// When the bytes so far may have gone.
    free_at: Instant,
    _active: Active,
}

impl Pace {
    /// How long to wait before so many bytes more.
    fn after(&mut self, bytes: usize) -> Duration {
        let now = Instant::now();
        let start = self.free_at.max(now);
        let nanos =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(self.rate);
        let took = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST);
        self.free_at = start + took;
        self.free_at - now
    }
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
        Self { config: Arc::clone(config), counters: counters.clone(), active: None, pace: None }
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
            FaultAbortKind::Grpc(status) => (StatusCode::OK, Some(status)),
            FaultAbortKind::Header => return None,
        };
        let body = if abort.body.is_empty() { "fault filter abort" } else { &*abort.body };
        Some(Box::new(LocalResponse {
            body: Bytes::copy_from_slice(body.as_bytes()),
            grpc_status,
            ..LocalResponse::new(status, "fault_filter_abort")
        }))
    }

    /// Decides about the pace of the answer.
    fn begin_rate(&mut self, head: &RequestHead) {
        let Some(limit) = self.config.response_rate else { return };
        let (rate, share) = match limit.fixed {
            Some(fixed) => (Some(fixed), limit.share),
            None => (number(head, RATE), lowered(limit.share, head, RATE_SHARE)),
        };
        let Some(rate) = rate.filter(|rate| *rate > 0 && share.accepts(rand::random())) else { return };
        if !self.begin() {
            return;
        }
        let Some(active) = self.active.take() else { return };
        self.counters.rate_limits_injected.increment();
        self.pace = Some(Pace { rate: rate.saturating_mul(1024), free_at: Instant::now(), _active: active });
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
        self.begin_rate(context.request);
        match self.delay(context.request) {
            Some(delay) if self.begin() => {
                self.counters.delays_injected.increment();
                *context.flags |= ResponseFlags::DELAY_INJECTED;
                Outcome::Pause(Pause::until(tokio::time::sleep(delay)))
            }
            _ => self.abort_or_go_on(context),
        }
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, phase: Phase) -> Outcome {
        match phase {
            Phase::RequestHeaders => self.abort_or_go_on(context),
            _ => Outcome::Continue,
        }
    }

    fn is_finished(&self) -> bool {
        self.pace.is_none()
    }

    fn wants_response_body(&self) -> bool {
        self.pace.is_some()
    }

    fn on_response_body(
        &mut self,
        _context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        _end_of_stream: bool,
    ) -> Outcome {
        match self.pace.as_mut().filter(|_| !chunk.is_empty()).map(|pace| pace.after(chunk.len())) {
            Some(wait) => Outcome::Pause(Pause::until(tokio::time::sleep(wait))),
            None => Outcome::Continue,
        }
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
