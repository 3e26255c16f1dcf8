// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The time limits of a connection: one timer, armed for the limit that comes next.

use crate::connection::Connection;
use crate::overload::Pressure;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// What is to happen with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Wait,
    /// It has had no request for a moment: its parser may go until the next one.
    Rest,
    /// It ends after its current requests.
    End,
    /// It ends now.
    Cut,
}

/// How long a connection is without a request before its parser and buffers are given up.
const REST: Duration = Duration::from_secs(1);

/// How long a client may let an answer wait while memory is nearly used up.
const BLOCKED: Duration = Duration::from_millis(500);

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Watchdog {
    connection: Rc<Connection>,
    http2: bool,
    opened: Instant,
    drain_since: Option<Instant>,
    /// It was told to end because memory is short.
    relieved: bool,
    /// A drain was announced to the client by GOAWAY.
    told: bool,
    /// The parser is gone until the client's next byte.
    resting: bool,
    timer: Pin<Box<Sleep>>,
    /// What the timer is armed for.
    armed: Instant,
    /// The timer was polled since: it wakes the connection's task when it is due.
    set: bool,
}

impl Watchdog {
    pub(crate) fn new(connection: Rc<Connection>, http2: bool) -> Self {
        let opened = Instant::now();
        let armed = opened + connection.head_limit().min(REST);
        Self {
            connection,
            http2,
            opened,
            drain_since: None,
            relieved: false,
            told: false,
            resting: false,
            timer: Box::pin(sleep_until(armed)),
            armed,
            set: false,
        }
    }

    /// Looks at the limits; wakes the task when the next one is due.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Verdict {
        if self.drain_since.is_none() && self.connection.listener().is_draining() {
            self.drain_since = Some(Instant::now());
            self.connection.settings().metrics.downstream_cx_drain_close.increment();
            self.arm(Instant::now());
        }
        if self.connection.worker().pressure() > Pressure::None
            && let Some(verdict) = self.relieve()
        {
            return verdict;
        }
        // GOAWAY at once, but not before the first request: hyper closes a connection without an answer while it is in its handshake,
        // and a client sends its first request along with that.
        if self.http2 && !self.told && self.drain_since.is_some() && self.connection.requests() > 0 {
            self.told = true;
            return Verdict::End;
        }
        let stream = self.connection.stream();
        let urgent = stream.head_since().is_some() || stream.write_blocked_since().is_some();
        if urgent {
            let due = Instant::now() + self.connection.head_limit().min(self.connection.stalled());
            if due < self.armed {
                self.arm(due);
            }
        }
        // The same task polls every time, so a timer that is set and not due has nothing to say.
        if self.set && !self.timer.is_elapsed() {
            return Verdict::Wait;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            match self.judge(now) {
                Ok(next) => self.arm(next.max(now + Duration::from_millis(1))),
                Err(Verdict::Rest) => {
                    self.arm(now + REST);
                    return Verdict::Rest;
                }
                Err(verdict) => {
                    // Once told to end, the connection has until its listener closes.
                    self.arm(now + Duration::from_secs(1));
                    return verdict;
                }
            }
        }
        self.set = true;
        Verdict::Wait
    }

    /// Memory is short: without a request the connection ends, and later where its client does not take what it is sent.
    fn relieve(&mut self) -> Option<Verdict> {
        let blocked = self.connection.stream().write_blocked_since();
        if self.connection.worker().pressure() == Pressure::NoConnections
            && blocked.is_some_and(|since| since.elapsed() > BLOCKED)
        {
            self.connection.settings().metrics.downstream_cx_write_timeout.increment();
            return Some(Verdict::Cut);
        }
        let idle = self.connection.idle_since().is_some() && self.connection.requests() > 0;
        if !idle || self.relieved {
            return None;
        }
        self.relieved = true;
        self.connection.settings().metrics.downstream_cx_overload_disable_keepalive.increment();
        Some(Verdict::End)
    }

    /// The parser went, or came back.
    pub(crate) fn rests(&mut self, resting: bool) {
        self.resting = resting;
        let now = Instant::now();
        self.arm(now + REST);
    }

    fn arm(&mut self, at: Instant) {
        self.armed = at;
        self.set = false;
        self.timer.as_mut().reset(at);
    }

    /// The next limit's time, or the verdict of one that has passed.
    fn judge(&self, now: Instant) -> Result<Instant, Verdict> {
        let connection = &self.connection;
        let (settings, limits) = (connection.settings(), connection.worker().limits());
        let (timeouts, metrics) = (&settings.http.timeouts, &settings.metrics);
        let (stream, mut rest) = (connection.stream(), false);
        let mut next = now + Duration::from_secs(3600);
        let mut due = |at: Instant| {
            next = next.min(at);
            at <= now
        };
        if let Some(since) = stream.head_since()
            && due(since + connection.head_limit())
        {
            metrics.downstream_rq_header_timeout.increment();
            return Err(Verdict::Cut);
        }
        if let Some(since) = stream.write_blocked_since()
            && due(since + connection.stalled())
        {
            metrics.downstream_cx_write_timeout.increment();
            return Err(Verdict::Cut);
        }
        if let Some(since) = connection.idle_since() {
            let first = connection.requests() == 0 && !self.http2;
            let limit = if first { connection.head_limit() } else { timeouts.idle.unwrap_or(limits.idle) };
            if due(since + limit) {
                metrics.downstream_cx_idle_timeout.increment();
                return Err(Verdict::End);
            }
            let may_rest = !self.http2 && !self.resting && !first && stream.is_between_requests();
            rest = may_rest && due(since + REST);
            let drain_idle = connection.worker().shared().options.drain.idle;
            if let Some(drain) = self.drain_since
                && due(since.max(drain) + drain_idle)
            {
                return Err(Verdict::End);
            }
        }
        if let Some(limit) = timeouts.max_connection
            && due(self.opened + limit)
        {
            connection.age();
            return Err(Verdict::End);
        }
        match rest {
            true => Err(Verdict::Rest),
            // While requests are served, nobody tells when the last one has ended.
            false if !self.http2 && !self.resting => Ok(next.min(now + REST)),
            false => Ok(next),
        }
    }
}
