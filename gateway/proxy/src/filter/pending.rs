// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A request's body before the request goes on: not touched, or collected because a plugin holds the head for it.

use super::BodyRun;
use crate::answer::Failure;
use crate::request_body::{BodyLimits, BodySource, broke_off};
use bytes::{Bytes, BytesMut};
use gateway_filter_api::ResponseFlags;
use http::StatusCode;
use http_body::Body;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
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
    /// 413 above the limit, 408 where it stops or takes too long, 400 where it breaks off.
    pub(super) async fn collect(
        &mut self,
        limits: BodyLimits,
        most: usize,
        even_none: bool,
    ) -> Result<(), Failure> {
        let Some(incoming) = self.incoming.take() else {
            if even_none {
                self.whole.get_or_insert_default();
            }
            return Ok(());
        };
        let whole = collected(incoming, self.http2, limits.stalled, most);
        self.whole = Some(match limits.whole {
            Some(limit) => timeout(limit, whole).await.map_err(|_| late("request_overall_timeout"))??,
            None => whole.await?,
        });
        Ok(())
    }

    /// The body for the upstream; `run` where plugins want it piece by piece.
    pub(crate) fn into_source(
        self,
        keep: usize,
        limits: BodyLimits,
        run: Option<BodyRun>,
    ) -> Option<Rc<BodySource>> {
        match (self.whole, self.incoming) {
            (Some(whole), _) if whole.is_empty() => None,
            (Some(whole), _) => Some(BodySource::complete(whole.freeze())),
            (None, Some(incoming)) => Some(BodySource::new((incoming, self.http2), keep, limits, run)),
            (None, None) => None,
        }
    }
}

async fn collected(
    mut incoming: Incoming,
    http2: bool,
    stalled: Duration,
    most: usize,
) -> Result<BytesMut, Failure> {
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout(stalled, poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)));
        match frame.await {
            Err(_) => {
                let flags = ResponseFlags::STREAM_IDLE_TIMEOUT;
                return Err(Failure { flags, ..late("request_body_idle_timeout") });
            }
            Ok(None) if broke_off(&incoming, http2) => {
                return Err(Failure::bad_request("request_body_failed"));
            }
            Ok(None) => return Ok(whole),
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
}

fn late(details: &'static str) -> Failure {
    Failure {
        status: StatusCode::REQUEST_TIMEOUT,
        flags: ResponseFlags::default(),
        ..Failure::bad_request(details)
    }
}
