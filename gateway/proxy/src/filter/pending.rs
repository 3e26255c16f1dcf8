// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A request's body before the request goes on: not touched, or collected because a plugin holds the head for it.

use super::BodyRun;
use crate::answer::Failure;
use crate::options::Limits;
use crate::request_body::{BodySource, broke_off};
use bytes::{Bytes, BytesMut};
use gateway_filter_api::ResponseFlags;
use http::StatusCode;
use http_body::Body;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use tokio::time::timeout;

/// The body of a request whose filters are running.
#[derive(Debug)]
pub(crate) struct PendingBody {
    incoming: Option<Incoming>,
    whole: Option<BytesMut>,
    http2: bool,
}

const TOO_LARGE: Failure = Failure {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    body: "Payload Too Large",
    flags: ResponseFlags::NONE,
    details: "request_payload_too_large",
};

impl PendingBody {
    /// Nothing of it is read yet.
    pub(crate) fn new(incoming: Incoming, http2: bool) -> Self {
        Self { incoming: (!incoming.is_end_stream()).then_some(incoming), whole: None, http2 }
    }

    /// There is none.
    pub(crate) fn none() -> Self {
        Self { incoming: None, whole: None, http2: false }
    }

    /// All of it is there.
    pub(crate) fn complete(pieces: Vec<Bytes>) -> Self {
        Self { whole: Some(pieces.concat().as_slice().into()), ..Self::none() }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.incoming.is_none() && self.whole.as_ref().is_none_or(BytesMut::is_empty)
    }

    /// Whether it comes piece by piece.
    pub(crate) fn is_streaming(&self) -> bool {
        self.incoming.is_some()
    }

    /// All of it, once it was collected.
    pub(super) fn whole(&mut self) -> Option<&mut BytesMut> {
        self.whole.as_mut()
    }

    /// Reads all of it, `most` bytes at the most; where there is none, an empty one is made if `even_none`.
    ///
    /// # Errors
    /// 413 above the limit, 408 where it stops, 400 where it breaks off.
    pub(super) async fn collect(
        &mut self,
        limits: &Limits,
        most: usize,
        even_none: bool,
    ) -> Result<(), Failure> {
        let Some(mut incoming) = self.incoming.take() else {
            if even_none {
                self.whole.get_or_insert_default();
            }
            return Ok(());
        };
        let mut whole = BytesMut::new();
        loop {
            let frame =
                timeout(limits.stalled, poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)));
            match frame.await {
                Err(_) => {
                    let failure = Failure::bad_request("request_body_idle_timeout");
                    return Err(Failure {
                        status: StatusCode::REQUEST_TIMEOUT,
                        flags: ResponseFlags::STREAM_IDLE_TIMEOUT,
                        ..failure
                    });
                }
                Ok(None) if broke_off(&incoming, self.http2) => {
                    return Err(Failure::bad_request("request_body_failed"));
                }
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Failure::bad_request("request_body_failed")),
                Ok(Some(Ok(frame))) => {
                    // Trailers of a request are lost here: they are rare, and no head can name them any more.
                    let Ok(data) = frame.into_data() else { continue };
                    if whole.len() + data.len() > most {
                        return Err(TOO_LARGE);
                    }
                    whole.extend_from_slice(&data);
                }
            }
        }
        self.whole = Some(whole);
        Ok(())
    }

    /// The body for the upstream; `run` where plugins want it piece by piece.
    pub(crate) fn into_source(
        self,
        keep: usize,
        limits: &Limits,
        run: Option<BodyRun>,
    ) -> Option<Rc<BodySource>> {
        match (self.whole, self.incoming) {
            (Some(whole), _) if whole.is_empty() => None,
            (Some(whole), _) => Some(BodySource::complete(whole.freeze())),
            (None, Some(incoming)) => {
                Some(BodySource::new((incoming, self.http2), keep, limits.stalled, run))
            }
            (None, None) => None,
        }
    }
}
