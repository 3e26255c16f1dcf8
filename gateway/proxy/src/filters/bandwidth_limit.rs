// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bodies that go no faster than a limit which all requests share.

use super::Counter;
use bytes::BytesMut;
use gateway_config::{Bandwidth, BandwidthLimit};
use gateway_filter_api::{FilterContext, HttpFilter, Outcome, Pause, Phase};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::time::Instant;

/// The clock of all limits.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) request_enforced: Counter,
    pub(crate) response_enforced: Counter,
}

/// Slows down one request.
#[derive(Debug)]
pub(crate) struct Slow {
    config: Arc<BandwidthLimit>,
    counters: Counters,
}

impl Slow {
    /// None where neither direction is limited.
    pub(crate) fn new(config: &Arc<BandwidthLimit>, counters: &Counters) -> Option<Self> {
        let limits = config.requests.is_some() || config.responses.is_some();
        limits.then(|| Self { config: Arc::clone(config), counters: counters.clone() })
    }
}

fn pass(limit: Option<&Bandwidth>, chunk: &BytesMut, counter: &Counter) -> Outcome {
    let wait = limit.map_or(Duration::ZERO, |limit| limit.wait(START.elapsed(), chunk.len()));
    if chunk.is_empty() || wait.is_zero() {
        return Outcome::Continue;
    }
    counter.increment();
    Outcome::Pause(Pause::until(tokio::time::sleep(wait)))
}

impl HttpFilter for Slow {
    fn wants_request_body(&self) -> bool {
        self.config.requests.is_some()
    }

    fn on_request_body(
        &mut self,
        _context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        _end_of_stream: bool,
    ) -> Outcome {
        pass(self.config.requests.as_ref(), chunk, &self.counters.request_enforced)
    }

    fn wants_response_body(&self) -> bool {
        self.config.responses.is_some()
    }

    fn on_response_body(
        &mut self,
        _context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        _end_of_stream: bool,
    ) -> Outcome {
        pass(self.config.responses.as_ref(), chunk, &self.counters.response_enforced)
    }

    fn on_resume(&mut self, _context: &mut FilterContext<'_>, _phase: Phase) -> Outcome {
        Outcome::Continue
    }
}
