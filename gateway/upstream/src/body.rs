// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The body of an answer; the connection goes back to its pool when it ends.

use crate::RequestBody;
use crate::lease::Lease;
use crate::raw::RawConnection;
use crate::send::ActiveRequest;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body of an answer. Dropping it early closes its HTTP/1.1 connection or resets its HTTP/2 stream.
pub struct UpstreamBody<B: RequestBody> {
    incoming: Source,
    hold: Option<(Option<Lease<B>>, ActiveRequest)>,
}

/// Where it comes from.
enum Source {
    Http(Incoming),
    /// A connection that answers a CONNECT which ends here; it has no body.
    Raw(Box<RawConnection>),
}

impl<B: RequestBody> std::fmt::Debug for UpstreamBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").field("ended", &self.hold.is_none()).finish_non_exhaustive()
    }
}

/// Keeps a request counted while its bytes pass as they are.
pub(crate) struct TunnelHold<B: RequestBody>(
    #[expect(dead_code, reason = "held for its end")] Option<(Option<Lease<B>>, ActiveRequest)>,
);

impl<B: RequestBody> UpstreamBody<B> {
    pub(crate) fn new(incoming: Incoming, lease: Lease<B>, active: ActiveRequest) -> Self {
        let mut body = Self { incoming: Source::Http(incoming), hold: Some((Some(lease), active)) };
        body.finish_if_ended();
        body
    }

    /// The body of an answer that switched protocols: the connection belongs to the upgrade, and the request counts until this is dropped.
    pub(crate) fn switched(incoming: Incoming, lease: Lease<B>, active: ActiveRequest) -> Self {
        Self { incoming: Source::Http(incoming), hold: Some((Some(lease), active)) }
    }

    /// A connection as an answer.
    pub(crate) fn raw(connection: RawConnection, active: ActiveRequest) -> Self {
        Self { incoming: Source::Raw(Box::new(connection)), hold: Some((None, active)) }
    }

    /// The connection where it is the answer, and what keeps the request counted.
    pub(crate) fn into_parts(self) -> (Option<Box<RawConnection>>, TunnelHold<B>) {
        let connection = match self.incoming {
            Source::Http(_) => None,
            Source::Raw(connection) => Some(connection),
        };
        (connection, TunnelHold(self.hold))
    }

    fn finish_if_ended(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some((lease, active)) = self.hold.take() {
            active.count_time();
            if let Some(lease) = lease {
                lease.finish();
            }
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
        let Source::Http(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
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
        match &self.incoming {
            Source::Http(incoming) => incoming.is_end_stream(),
            Source::Raw(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Source::Http(incoming) => incoming.size_hint(),
            Source::Raw(_) => SizeHint::with_exact(0),
        }
    }
}
