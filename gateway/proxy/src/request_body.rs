// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A request's body on its way upstream: streamed as it comes, and kept up to a limit where it may have to be sent again.

use crate::filter::{BodyRun, Direction};
use crate::idle::IdleTimer;
use bytes::Bytes;
use gateway_filter_api::LocalResponse;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep, sleep};

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client went away or broke the framing.
    #[error("the client's request body ended early")]
    Client,
    /// No byte came for too long.
    #[error("the client's request body did not go on in time")]
    Idle,
    /// It was not there as a whole in time.
    #[error("the client's request was not there in time")]
    Late,
    /// It can not be sent again, as it was not kept.
    #[error("the request body was not kept")]
    Gone,
    /// A plugin answered the request.
    #[error("a filter ended the request")]
    Answered,
}

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Without a byte.
    pub(crate) stalled: Duration,
    /// As a whole.
    pub(crate) whole: Option<Duration>,
}

/// Where the body of one request comes from, for all attempts to send it.
#[derive(Debug)]
pub(crate) struct BodySource {
    state: RefCell<State>,
    received: Cell<u64>,
    done: Cell<bool>,
    ended_at: Cell<Option<Instant>>,
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// None where the body was whole from the start.
    incoming: Option<Incoming>,
    http2: bool,
    /// What plugins do with it.
    run: Option<BodyRun>,
    /// The answer of a plugin that ended the request.
    answer: Option<Box<LocalResponse>>,
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    failed: Option<BodyError>,
    idle: IdleTimer,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl BodySource {
    /// A source that keeps up to `keep` bytes to send them again, and fails where it takes too long.
    pub(crate) fn new(
        (incoming, http2): (Incoming, bool),
        keep: usize,
        limits: BodyLimits,
        run: Option<BodyRun>,
    ) -> Rc<Self> {
        let kept = (keep > 0).then(Vec::new);
        let mut state = State::new(Some(incoming), run, kept, keep, IdleTimer::new(Some(limits.stalled)));
        state.http2 = http2;
        state.deadline = limits.whole.map(|whole| Box::pin(sleep(whole)));
        Self::from_state(state, 0, false)
    }

    /// A body that is there already.
    pub(crate) fn complete(bytes: Bytes) -> Rc<Self> {
        let received = bytes.len();
        Self::from_state(
            State::new(None, None, Some(vec![bytes]), received, IdleTimer::new(None)),
            received as u64,
            true,
        )
    }

    fn from_state(state: State, received: u64, done: bool) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(state),
            received: Cell::new(received),
            done: Cell::new(done),
            ended_at: Cell::new(done.then(Instant::now)),
            ended: Notify::new(),
        })
    }

    /// The client was sent a piece of the answer: it is no idler, even where its body does not go on.
    pub(crate) fn answered(&self) {
        if !self.done.get()
            && let Ok(mut state) = self.state.try_borrow_mut()
        {
            state.idle.moved();
        }
    }

    /// Bytes that came from the client.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// When the client had sent all of it.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        self.ended_at.get()
    }

    /// Whether another attempt can send it from the start.
    pub(crate) fn is_replayable(&self) -> bool {
        let state = self.state.borrow();
        state.failed.is_none() && (self.received.get() == 0 || state.kept.is_some())
    }

    /// Why it ended early.
    pub(crate) fn failure(&self) -> Option<BodyError> {
        self.state.borrow().failed
    }

    /// The answer of a plugin that ended the request during its body.
    pub(crate) fn take_answer(&self) -> Option<Box<LocalResponse>> {
        self.state.borrow_mut().answer.take()
    }

    /// Returns once the client has sent all of it.
    pub(crate) async fn ended(&self) {
        // One thread: nothing can happen between the look and the wait.
        if !self.done.get() {
            self.ended.notified().await;
        }
    }

    /// Whether the client has sent all of it.
    pub(crate) fn has_ended(&self) -> bool {
        self.done.get()
    }

    /// All bytes, where they are there and kept.
    pub(crate) fn whole(&self) -> Option<Vec<Bytes>> {
        if self.done.get() { self.state.borrow().kept.clone() } else { None }
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state.borrow_mut();
        if let Some(error) = state.failed {
            return Poll::Ready(Some(Err(error)));
        }
        if self.done.get() {
            return Poll::Ready(None);
        }
        loop {
            if state.run.as_ref().is_some_and(BodyRun::is_busy) {
                match ready!(self.poll_run(&mut state, context)) {
                    Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                    Ok(None) if self.done.get() => {
                        return Poll::Ready(
                            state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))),
                        );
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            let Some(incoming) = &mut state.incoming else { return Poll::Ready(None) };
            let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
                return match state.expired(context) {
                    Some(error) => Poll::Ready(Some(Err(self.fail(&mut state, error)))),
                    None => Poll::Pending,
                };
            };
            match self.take(&mut state, frame) {
                Taken::Piece(piece) => return Poll::Ready(piece),
                Taken::ForPlugins => {}
            }
        }
    }

    /// Takes what the client sent.
    fn take(&self, state: &mut State, frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Taken {
        let last = state.incoming.as_ref().is_none_or(Incoming::is_end_stream);
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Taken::Piece(Some(Err(self.fail(state, BodyError::Client)))),
            None if state.incoming.as_ref().is_some_and(|incoming| broke_off(incoming, state.http2)) => {
                return Taken::Piece(Some(Err(self.fail(state, BodyError::Client))));
            }
            None => match &mut state.run {
                Some(run) => {
                    run.start(Bytes::new(), true);
                    return Taken::ForPlugins;
                }
                None => {
                    self.finish();
                    return Taken::Piece(None);
                }
            },
        };
        state.idle.moved();
        match frame.into_data() {
            Ok(data) => {
                self.received.set(self.received.get() + data.len() as u64);
                if let Some(run) = &mut state.run {
                    run.start(data, last);
                    return Taken::ForPlugins;
                }
                state.keep(&data);
                if last {
                    self.finish();
                }
                Taken::Piece(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { return Taken::ForPlugins };
                if let Some(run) = &mut state.run {
                    run.streams().keep_trailers(Direction::Request, trailers);
                    run.start(Bytes::new(), true);
                    return Taken::ForPlugins;
                }
                state.trailers = Some(trailers.clone());
                self.finish();
                Taken::Piece(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    /// What the plugins made of a piece; none where they keep it.
    fn poll_run(
        &self,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyError>> {
        let Some(run) = &mut state.run else { return Poll::Ready(Ok(None)) };
        match ready!(run.poll(context)) {
            Ok((piece, last)) => {
                if last {
                    state.trailers = run.streams().take_trailers(Direction::Request);
                    self.finish();
                }
                if piece.is_empty() {
                    return Poll::Ready(Ok(None));
                }
                state.keep(&piece);
                Poll::Ready(Ok(Some(piece)))
            }
            Err(answer) => {
                state.answer = Some(answer);
                Poll::Ready(Err(self.fail(state, BodyError::Answered)))
            }
        }
    }

    fn finish(&self) {
        self.done.set(true);
        self.ended_at.set(Some(Instant::now()));
        self.ended.notify_waiters();
    }

    fn fail(&self, state: &mut State, error: BodyError) -> BodyError {
        state.failed = Some(error);
        error
    }
}

/// Whether a body that gave its last frame was cut off by the client: hyper tells a stream that was cancelled as one that ended.
pub(crate) fn broke_off(incoming: &Incoming, http2: bool) -> bool {
    http2 && !incoming.is_end_stream()
}

/// What became of a frame.
enum Taken {
    /// It goes on as it is.
    Piece(Option<Result<Frame<Bytes>, BodyError>>),
    /// Plugins see it first.
    ForPlugins,
}

impl State {
    fn new(
        incoming: Option<Incoming>,
        run: Option<BodyRun>,
        kept: Option<Vec<Bytes>>,
        limit: usize,
        idle: IdleTimer,
    ) -> Self {
        Self {
            incoming,
            http2: false,
            run,
            answer: None,
            kept,
            kept_bytes: 0,
            limit,
            trailers: None,
            failed: None,
            idle,
            deadline: None,
        }
    }

    /// Whether the client takes too long.
    fn expired(&mut self, context: &mut Context<'_>) -> Option<BodyError> {
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return Some(BodyError::Late);
        }
        self.idle.poll_expired(context).then_some(BodyError::Idle)
    }

    /// Plugins may change the length.
    fn size_hint(&self) -> SizeHint {
        match (&self.incoming, &self.run) {
            (Some(incoming), None) => incoming.size_hint(),
            _ => SizeHint::default(),
        }
    }

    fn keep(&mut self, data: &Bytes) {
        let Some(kept) = &mut self.kept else { return };
        self.kept_bytes += data.len();
        if self.kept_bytes <= self.limit {
            kept.push(data.clone());
        } else {
            self.kept = None;
        }
    }
}

/// The body of one attempt.
#[derive(Debug, Default)]
pub(crate) struct RequestBody {
    from: From,
}

#[derive(Debug, Default)]
enum From {
    #[default]
    Nothing,
    Source {
        source: Rc<BodySource>,
        /// Kept pieces that this attempt has sent.
        sent: usize,
        trailers_sent: bool,
    },
    Copy(std::vec::IntoIter<Bytes>),
    Channel(mpsc::UnboundedReceiver<Bytes>),
}

impl RequestBody {
    /// A body from its start.
    pub(crate) fn new(source: Option<&Rc<BodySource>>) -> Self {
        let from = source.map_or(From::Nothing, |source| From::Source {
            source: Rc::clone(source),
            sent: 0,
            trailers_sent: false,
        });
        Self { from }
    }

    /// A body that is whole.
    pub(crate) fn copy(pieces: Vec<Bytes>) -> Self {
        Self { from: From::Copy(pieces.into_iter()) }
    }

    /// A body that comes from a sender, and ends with it.
    pub(crate) fn channel(receiver: mpsc::UnboundedReceiver<Bytes>) -> Self {
        Self { from: From::Channel(receiver) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (source, sent, trailers_sent) = match &mut self.from {
            From::Nothing => return Poll::Ready(None),
            From::Copy(pieces) => return Poll::Ready(pieces.next().map(|piece| Ok(Frame::data(piece)))),
            From::Channel(receiver) => {
                return receiver.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))));
            }
            From::Source { source, sent, trailers_sent } => (source, sent, trailers_sent),
        };
        let kept = source.state.borrow().kept.as_ref().map(|kept| (kept.len(), kept.get(*sent).cloned()));
        match kept {
            Some((_, Some(piece))) => {
                *sent += 1;
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            // Dropped since this attempt began to replay it.
            None if *sent == 0 && source.received.get() > 0 && source.state.borrow().limit > 0 => {
                return Poll::Ready(Some(Err(BodyError::Gone)));
            }
            _ => {}
        }
        if source.done.get() {
            let trailers = source.state.borrow().trailers.clone().filter(|_| !*trailers_sent);
            *trailers_sent = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(source.poll_next(context));
        if let Some(Ok(frame)) = &frame {
            *sent += usize::from(frame.is_data());
            *trailers_sent |= frame.is_trailers();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Nothing => true,
            From::Copy(pieces) => pieces.len() == 0,
            From::Channel(_) => false,
            From::Source { source, sent, trailers_sent } => {
                let state = source.state.borrow();
                let all_sent = state.kept.as_ref().is_none_or(|kept| *sent >= kept.len());
                source.done.get() && all_sent && (state.trailers.is_none() || *trailers_sent)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            From::Nothing => SizeHint::with_exact(0),
            From::Copy(pieces) => {
                SizeHint::with_exact(pieces.as_slice().iter().map(|piece| piece.len() as u64).sum())
            }
            From::Source { source, sent: 0, .. } if source.received.get() == 0 => {
                source.state.borrow().size_hint()
            }
            From::Source { .. } | From::Channel(_) => SizeHint::default(),
        }
    }
}
