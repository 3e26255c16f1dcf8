// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The time limit of a request: from the last byte of the request to the last byte of the answer, retries included, as in Envoy.

use crate::request_body::BodySource;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The limit of one request.
#[derive(Debug)]
pub(crate) struct Deadline {
    limit: Option<Duration>,
    body: Option<Rc<BodySource>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// None or zero: no limit. The time runs once `body` has ended.
    pub(crate) fn new(limit: Option<Duration>, body: Option<Rc<BodySource>>) -> Self {
        Self { limit: limit.filter(|limit| !limit.is_zero()), body, sleep: None }
    }

    /// Returns when the time is over; may be dropped and called again.
    pub(crate) async fn expired(&mut self) {
        let Some(limit) = self.limit else { return std::future::pending().await };
        if let Some(body) = &self.body {
            body.ended().await;
        }
        self.sleep.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().await;
    }

    /// What is left of the time, for the answer's body. A request that is still being sent while its answer comes (a stream both ways)
    /// has no limit but that on idleness.
    pub(crate) fn into_sleep(self) -> Option<Pin<Box<Sleep>>> {
        let ended = self.body.as_ref().is_none_or(|body| body.has_ended());
        let limit = self.limit.filter(|_| ended)?;
        Some(self.sleep.unwrap_or_else(|| Box::pin(sleep(limit))))
    }
}
