// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The body of an answer; the connection goes back to its pool when it ends.

use crate::RequestBody;
use crate::lease::Lease;
use crate::send::ActiveRequest;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body of an answer. Dropping it early closes its HTTP/1.1 connection or resets its HTTP/2 stream.
pub struct UpstreamBody<B: RequestBody> {
    incoming: Incoming,
    hold: Option<(Lease<B>, ActiveRequest)>,
}

impl<B: RequestBody> std::fmt::Debug for UpstreamBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").field("ended", &self.hold.is_none()).finish_non_exhaustive()
    }
}

impl<B: RequestBody> UpstreamBody<B> {
    pub(crate) fn new(incoming: Incoming, lease: Lease<B>, active: ActiveRequest) -> Self {
        let mut body = Self { incoming, hold: Some((lease, active)) };
        body.finish_if_ended();
        body
    }

    /// The body of an answer that switched protocols: the connection belongs to the upgrade, and the request counts until this is dropped.
    pub(crate) fn switched(incoming: Incoming, lease: Lease<B>, active: ActiveRequest) -> Self {
        Self { incoming, hold: Some((lease, active)) }
    }

    fn finish_if_ended(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some((lease, active)) = self.hold.take() {
            active.count_time();
            lease.finish();
        }
    }
}

impl<B: RequestBody> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            None => self.finish(),
            Some(Ok(_)) => self.finish_if_ended(),
            Some(Err(_)) => {
                if let Some((lease, active)) = self.hold.take() {
                    active.count_reset();
                    drop(lease);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
