// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A response's body on its way to the client. It carries the request's record: when it ends or is dropped, the request is over.

use crate::flags::ResponseFlags;
use crate::idle::IdleTimer;
use crate::record::Record;
use crate::request_body::RequestBody;
use bytes::Bytes;
use gateway_upstream::UpstreamBody;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// Why an answer was cut off; the client sees a reset, never a complete body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The upstream ended early.
    #[error("the upstream's answer ended early")]
    Upstream,
    /// The request's time ran out.
    #[error("the request's time ran out during the answer")]
    Timeout,
    /// The upstream sent nothing for too long.
    #[error("the upstream's answer did not go on in time")]
    Idle,
}

/// What is sent.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// This.
    Full(Bytes),
    /// What the upstream sends.
    Upstream(Box<UpstreamPayload>),
}

/// An upstream's body with its time limits.
pub(crate) struct UpstreamPayload {
    pub(crate) body: UpstreamBody<RequestBody>,
    /// When the request's time is over.
    pub(crate) deadline: Option<Pin<Box<Sleep>>>,
    pub(crate) idle: IdleTimer,
}

impl Payload {
    /// Whether nothing is sent.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Upstream(_) => "Upstream",
        })
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    payload: Payload,
    record: Box<Record>,
}

impl ResponseBody {
    /// `bodiless`: the protocol allows no body here (HEAD, 204, 304), so the head is all.
    pub(crate) fn new(payload: Payload, mut record: Box<Record>, bodiless: bool) -> Self {
        record.complete = bodiless || payload_ended(&payload);
        Self { payload, record }
    }

    fn cut(&mut self, error: AnswerError) -> AnswerError {
        let (flag, details) = match error {
            AnswerError::Upstream => (ResponseFlags::UPSTREAM_TERMINATION, "upstream_reset_after_response_started"),
            AnswerError::Timeout => (ResponseFlags::UPSTREAM_TIMEOUT, "response_timeout"),
            AnswerError::Idle => (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
        };
        self.record.flags |= flag;
        self.record.details = Some(details);
        self.payload = Payload::Empty;
        error
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.record.bytes_sent += data.len() as u64;
        }
        self.record.complete = payload_ended(&self.payload);
    }
}

fn payload_ended(payload: &Payload) -> bool {
    match payload {
        Payload::Empty => true,
        Payload::Full(bytes) => bytes.is_empty(),
        Payload::Upstream(upstream) => upstream.body.is_end_stream(),
    }
}

impl UpstreamPayload {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.idle.moved();
                Poll::Ready(frame.map(|frame| frame.map_err(|_| AnswerError::Upstream)))
            }
            Poll::Pending if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) => {
                Poll::Ready(Some(Err(AnswerError::Timeout)))
            }
            Poll::Pending if self.idle.poll_expired(context) => Poll::Ready(Some(Err(AnswerError::Idle))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = &mut *self;
        let frame = match &mut this.payload {
            Payload::Empty => None,
            Payload::Full(bytes) if bytes.is_empty() => None,
            Payload::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Payload::Upstream(upstream) => std::task::ready!(upstream.poll_frame(context)),
        };
        Poll::Ready(match frame {
            None => {
                this.record.complete = true;
                None
            }
            Some(Ok(frame)) => {
                this.passed(&frame);
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(this.cut(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        payload_ended(&self.payload)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Empty => SizeHint::with_exact(0),
            Payload::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Upstream(upstream) => upstream.body.size_hint(),
        }
    }
}
