// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A response's body on its way to the client. It carries the request's record: when it ends or is dropped, the request is over.

use crate::answer::Answer;
use crate::deadline::Over;
use crate::filter::{BodyRun, Direction, FilterStreams};
use crate::idle::IdleTimer;
use crate::overload::Pressure;
use crate::record::Record;
use crate::request_body::RequestBody;
use crate::stream_task;
use crate::upgrade::Tunnel;
use bytes::{Bytes, BytesMut};
use gateway_filter_api::{LocalResponse, ResponseFlags};
use gateway_upstream::UpstreamBody;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Why an answer was cut off; the client sees a reset, never a complete body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The upstream ended early.
    #[error("the upstream's answer ended early")]
    Upstream,
    /// The request's time ran out.
    #[error("the request's time ran out during the answer")]
    Timeout,
    /// The stream's time ran out.
    #[error("the stream's time ran out during the answer")]
    Duration,
    /// The upstream sent nothing for too long.
    #[error("the upstream's answer did not go on in time")]
    Idle,
    /// A plugin ended the answer after its head was sent.
    #[error("a filter ended the answer")]
    Filter,
}

/// What is sent.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// This.
    Full(Bytes),
    /// What the upstream sends.
    Upstream(Box<UpstreamPayload>),
    /// What plugins make of another payload.
    Filtered(Box<FilteredPayload>),
    /// No body: behind the head begins a tunnel.
    Tunnel(Box<Tunnel>),
}

/// A payload on its way through plugins.
pub(crate) struct FilteredPayload {
    /// What came out before the head was sent.
    first: Bytes,
    inner: Payload,
    run: BodyRun,
    /// Sent behind the last piece.
    trailers: Option<HeaderMap>,
    ended: bool,
}

/// An upstream's body with its time limits.
pub(crate) struct UpstreamPayload {
    pub(crate) body: UpstreamBody<RequestBody>,
    /// When the request's time is over.
    pub(crate) deadline: Option<(Pin<Box<Sleep>>, Over)>,
    pub(crate) idle: IdleTimer,
}

impl Payload {
    /// Whether no body is sent.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty | Self::Tunnel(_))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Upstream(_) => "Upstream",
            Self::Filtered(_) => "Filtered",
            Self::Tunnel(_) => "Tunnel",
        })
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    payload: Payload,
    /// None where a tunnel has it.
    record: Option<Box<Record>>,
    /// The next look at whether there is memory again.
    held: Option<Pin<Box<Sleep>>>,
}

/// Time between two looks at whether an answer that is held back may go on.
const HELD: Duration = Duration::from_millis(10);
/// What may wait to be written to a client while memory is short, bytes.
const UNSENT: u64 = 16 << 10;

impl ResponseBody {
    /// `bodiless`: the protocol allows no body here (HEAD, 204, 304), so the head is all.
    pub(crate) fn new(payload: Payload, mut record: Box<Record>, bodiless: bool) -> Self {
        record.complete = bodiless || payload_ended(&payload);
        Self { payload, record: Some(record), held: None }
    }

    /// Nothing, and the request goes on.
    pub(crate) fn none() -> Self {
        Self { payload: Payload::Empty, record: None, held: None }
    }

    fn cut(&mut self, error: AnswerError) -> AnswerError {
        let (flag, details) = match error {
            AnswerError::Upstream => {
                (ResponseFlags::UPSTREAM_TERMINATION, "upstream_reset_after_response_started")
            }
            AnswerError::Timeout => (ResponseFlags::UPSTREAM_TIMEOUT, "response_timeout"),
            AnswerError::Duration => (ResponseFlags::default(), "max_duration_timeout"),
            AnswerError::Filter => (ResponseFlags::default(), "filter_ended_response"),
            AnswerError::Idle => (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
        };
        if let Some(record) = &mut self.record {
            record.flags |= flag;
            record.details = Some(details.into());
        }
        self.payload = Payload::Empty;
        error
    }

    /// Memory is short and the client has not taken what is there already: no more is asked of the upstream.
    fn is_held_back(&self) -> bool {
        let Some(record) = &self.record else { return false };
        record.connection.worker().pressure() > Pressure::None && record.connection.stream().unsent() > UNSENT
    }

    fn passed(&mut self, frame: &Frame<Bytes>) {
        let Some(record) = &mut self.record else { return };
        if let Some(data) = frame.data_ref() {
            record.bytes_sent += data.len() as u64;
            record.connection.stream().handed(data.len());
        } else if let Some(trailers) = frame.trailers_ref() {
            record.keep_trailers(trailers);
        }
        record.complete = payload_ended(&self.payload);
        // A client may be silent while it is answered.
        if let Some(body) = &record.body {
            body.answered();
        }
    }
}

fn payload_ended(payload: &Payload) -> bool {
    match payload {
        Payload::Empty | Payload::Tunnel(_) => true,
        Payload::Full(bytes) => bytes.is_empty(),
        Payload::Upstream(upstream) => upstream.body.is_end_stream(),
        Payload::Filtered(filtered) => {
            filtered.ended && filtered.trailers.is_none() && filtered.first.is_empty()
        }
    }
}

/// Lets the plugins that want it have the body: whole before the head goes out where one holds it, else piece by piece.
///
/// # Errors
/// The answer of a plugin that replaces this one.
pub(crate) async fn filter(
    answer: &mut Answer<'_>,
    streams: &Rc<FilterStreams>,
    hold: bool,
    limit: usize,
) -> Result<(), Box<LocalResponse>> {
    let tunnel = matches!(answer.payload, Payload::Tunnel(_));
    if tunnel || (answer.payload.is_empty() && !streams.adds_body()) {
        return Ok(());
    }
    let Some(run) = BodyRun::new(streams, Direction::Response, limit) else { return Ok(()) };
    streams.keep_response(&answer.head);
    let inner = std::mem::replace(&mut answer.payload, Payload::Empty);
    let mut filtered = FilteredPayload { first: Bytes::new(), inner, run, trailers: None, ended: false };
    answer.head.headers.remove(CONTENT_LENGTH);
    if !hold {
        answer.payload = Payload::Filtered(Box::new(filtered));
        return Ok(());
    }
    let failed = |details| Box::new(LocalResponse::new(StatusCode::INTERNAL_SERVER_ERROR, details));
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|context| filtered.inner.poll_frame(context)).await {
        let Ok(frame) = frame else { return Err(failed("upstream_reset_before_response_started")) };
        match frame.into_data() {
            Ok(data) if whole.len() + data.len() > limit => {
                return Err(failed("response_payload_too_large"));
            }
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    streams.keep_trailers(Direction::Response, trailers);
                }
            }
        }
    }
    filtered.run.start(whole.freeze(), true);
    let (body, _) = poll_fn(|context| filtered.run.poll(context)).await?;
    if let Some(head) = streams.take_response() {
        answer.head = head;
        answer.head.headers.remove(CONTENT_LENGTH);
    }
    filtered.trailers = streams.take_trailers(Direction::Response);
    if filtered.trailers.is_some() {
        (filtered.first, filtered.ended) = (body, true);
        answer.payload = Payload::Filtered(Box::new(filtered));
    } else if !body.is_empty() {
        answer.payload = Payload::Full(body);
    }
    Ok(())
}

impl Payload {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Upstream(upstream) => upstream.poll_frame(context),
            Self::Filtered(filtered) => filtered.poll_frame(context),
        }
    }
}

impl FilteredPayload {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.first)))));
        }
        loop {
            if self.run.is_busy() {
                match std::task::ready!(self.run.poll(context)) {
                    Err(_) => return Poll::Ready(Some(Err(AnswerError::Filter))),
                    Ok((piece, last)) => {
                        if last {
                            self.trailers = self.run.streams().take_trailers(Direction::Response);
                        }
                        self.ended |= last;
                        if !piece.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(piece))));
                        }
                    }
                }
            }
            if self.ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match std::task::ready!(self.inner.poll_frame(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.run.start(Bytes::new(), true),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.run.start(data, payload_ended(&self.inner)),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.run.streams().keep_trailers(Direction::Response, trailers);
                        }
                        self.run.start(Bytes::new(), true);
                    }
                },
            }
        }
    }
}

impl UpstreamPayload {
    fn poll_over(&mut self, context: &mut Context<'_>) -> Option<AnswerError> {
        let (sleep, over) = self.deadline.as_mut()?;
        sleep.as_mut().poll(context).is_ready().then_some(match over {
            Over::Stream => AnswerError::Duration,
            Over::Request | Over::Idle => AnswerError::Timeout,
        })
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.idle.moved();
                Poll::Ready(frame.map(|frame| frame.map_err(|_| AnswerError::Upstream)))
            }
            Poll::Pending => match self.poll_over(context) {
                Some(over) => Poll::Ready(Some(Err(over))),
                None if self.idle.poll_expired(context) => Poll::Ready(Some(Err(AnswerError::Idle))),
                None => Poll::Pending,
            },
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = &mut *self;
        while this.is_held_back() {
            let look = this.held.get_or_insert_with(|| Box::pin(sleep(HELD)));
            if look.as_mut().poll(context).is_pending() {
                stream_task::offered();
                return Poll::Pending;
            }
            this.held = None;
        }
        let Poll::Ready(frame) = this.payload.poll_frame(context) else {
            stream_task::awaited();
            return Poll::Pending;
        };
        stream_task::offered();
        Poll::Ready(match frame {
            None => {
                if let Some(record) = &mut this.record {
                    record.complete = true;
                }
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
            Payload::Empty | Payload::Tunnel(_) => SizeHint::with_exact(0),
            Payload::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Upstream(upstream) => upstream.body.size_hint(),
            Payload::Filtered(_) => SizeHint::default(),
        }
    }
}
