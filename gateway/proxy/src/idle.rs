// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A limit on how long nothing may move. Costs nothing while things move: the timer exists once something had to be waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Watches a stream of data.
#[derive(Debug)]
pub(crate) struct IdleTimer {
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    last: Option<Instant>,
}

impl IdleTimer {
    /// None or zero: no limit.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit: limit.filter(|limit| !limit.is_zero()), timer: None, last: None }
    }

    /// Something moved.
    pub(crate) fn moved(&mut self) {
        if self.timer.is_some() {
            self.last = Some(Instant::now());
        }
    }

    /// Nothing is there now; true once that has been so for too long. Wakes the task then.
    pub(crate) fn poll_expired(&mut self, context: &mut Context<'_>) -> bool {
        let Some(limit) = self.limit else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        loop {
            if timer.as_mut().poll(context).is_pending() {
                return false;
            }
            match self.last.take() {
                Some(last) if last + limit > Instant::now() => timer.as_mut().reset(last + limit),
                _ => return true,
            }
        }
    }
}
