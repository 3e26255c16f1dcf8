// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The call to the service for one request: both directions wait on one stream, each for its own answers.

use crate::callout::{GrpcError, GrpcStream};
use crate::filter::Direction;
use gateway_xds_api::pb::envoy::service::ext_proc::v3::{
    ProcessingRequest, ProcessingResponse, processing_response::Response,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a service may take to end a call that is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Answers that nobody waits for.
const MOST_UNREAD: usize = 64;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The call failed.
    Grpc(GrpcError),
    /// The answer took too long.
    Timeout,
    /// The answer is larger than what may be kept.
    TooLarge,
}

/// An answer; none where the service has ended the call.
pub(super) type Reply = Result<Option<ProcessingResponse>, Problem>;

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// For one answer.
    pub(super) limit: Duration,
    /// The most that the service may ask for instead; zero: nothing.
    pub(super) longest: Duration,
}

/// A call.
#[derive(Debug)]
pub(super) struct Session(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    stream: GrpcStream<ProcessingRequest, ProcessingResponse>,
    end: Option<Result<(), GrpcError>>,
    /// By direction.
    slots: [Slot; 2],
}

/// What one direction waits for.
#[derive(Debug, Default)]
struct Slot {
    answers: VecDeque<ProcessingResponse>,
    waker: Option<Waker>,
}

/// A wait. When it ends, the other direction looks after the stream.
struct Waiting<'a> {
    session: &'a Session,
    direction: Direction,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inner = self.session.0.borrow_mut();
        inner.slots[self.direction as usize].waker = None;
        inner.wake(other(self.direction));
    }
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::Request => Direction::Response,
        Direction::Response => Direction::Request,
    }
}

impl Session {
    pub(super) fn new(stream: GrpcStream<ProcessingRequest, ProcessingResponse>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Inner { stream, end: None, slots: Default::default() })))
    }

    /// Puts a message on its way.
    pub(super) fn send(&self, message: &ProcessingRequest) {
        self.0.borrow_mut().stream.send(message);
    }

    /// The next answer for a direction.
    pub(super) async fn answer(&self, direction: Direction, timing: Timing) -> Reply {
        let _waiting = Waiting { session: self, direction };
        let mut deadline = Instant::now() + timing.limit;
        let mut longer = Some(timing.longest).filter(|longest| !longest.is_zero());
        loop {
            let answer = poll_fn(|context| self.0.borrow_mut().poll_answer(direction, context));
            let Ok(reply) = timeout_at(deadline, answer).await else {
                self.0.borrow().stream.report_timeout();
                return Err(Problem::Timeout);
            };
            let Some(message) = reply? else { return Ok(None) };
            let Some(asked) = &message.override_message_timeout else { return Ok(Some(message)) };
            // Such a message says nothing else; once for each answer.
            let asked = u64::try_from(asked.seconds)
                .ok()
                .zip(u32::try_from(asked.nanos).ok().filter(|nanos| *nanos < 1_000_000_000))
                .map(|(seconds, nanos)| Duration::new(seconds, nanos));
            if let Some(asked) = asked.filter(|asked| *asked >= Duration::from_millis(1))
                && longer.is_some_and(|longest| asked <= longest)
            {
                (deadline, longer) = (Instant::now() + asked, None);
            }
        }
    }

    /// All answers to a body that was sent in pieces, with that to its head if `head` was sent; the last one says so, or is that to the
    /// trailers. `most` bytes of bodies at the most.
    pub(super) async fn answers(
        &self,
        direction: Direction,
        timing: Timing,
        most: usize,
    ) -> Result<Vec<ProcessingResponse>, Problem> {
        let mut answers = Vec::new();
        let mut size = 0;
        loop {
            let Some(answer) = self.answer(direction, timing).await? else {
                // Where pieces came, the rest is missing.
                return if size == 0 { Ok(answers) } else { Err(Problem::Grpc(GrpcError::Malformed)) };
            };
            let piece = super::apply::streamed(&answer);
            size += piece.map_or(0, |piece| piece.body.len());
            if size > most {
                return Err(Problem::TooLarge);
            }
            let last = match &answer.response {
                Some(Response::RequestHeaders(_) | Response::ResponseHeaders(_)) => false,
                Some(Response::RequestBody(_) | Response::ResponseBody(_)) => {
                    piece.is_none_or(|piece| piece.end_of_stream)
                }
                _ => true,
            };
            answers.push(answer);
            if last {
                return Ok(answers);
            }
        }
    }

    /// Nothing more is sent. The service may end the call in its own time, but not for long.
    pub(super) fn finish(self: Rc<Self>) {
        self.0.borrow_mut().stream.close();
        spawn_local(async move {
            let end = poll_fn(|context| {
                let mut inner = self.0.borrow_mut();
                while inner.end.is_none() {
                    ready!(inner.poll_stream(Direction::Request, context));
                    inner.slots.iter_mut().for_each(|slot| slot.answers.clear());
                }
                Poll::Ready(())
            });
            let _ = timeout(GOODBYE, end).await;
        });
    }
}

impl Inner {
    fn poll_answer(
        &mut self,
        direction: Direction,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<ProcessingResponse>, Problem>> {
        loop {
            if let Some(answer) = self.slots[direction as usize].answers.pop_front() {
                return Poll::Ready(Ok(Some(answer)));
            }
            if let Some(end) = self.end {
                return Poll::Ready(end.map(|()| None).map_err(Problem::Grpc));
            }
            if self.poll_stream(direction, context).is_pending() {
                self.slots[direction as usize].waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
    }

    /// Takes one message, or the end, from the stream.
    fn poll_stream(&mut self, poller: Direction, context: &mut Context<'_>) -> Poll<()> {
        let direction = match ready!(self.stream.poll_receive(context)) {
            Ok(Some(message)) => {
                let direction = direction_of(&message).unwrap_or(poller);
                let answers = &mut self.slots[direction as usize].answers;
                if answers.len() < MOST_UNREAD {
                    answers.push_back(message);
                } else {
                    self.end = Some(Err(GrpcError::Malformed));
                }
                direction
            }
            result => {
                self.end = Some(result.map(|_| ()));
                other(poller)
            }
        };
        if direction != poller {
            self.wake(direction);
        }
        Poll::Ready(())
    }

    fn wake(&mut self, direction: Direction) {
        if let Some(waker) = self.slots[direction as usize].waker.take() {
            waker.wake();
        }
    }
}

/// Which direction an answer is for; what is for none goes to whoever waits.
fn direction_of(message: &ProcessingResponse) -> Option<Direction> {
    match message.response.as_ref()? {
        Response::RequestHeaders(_) | Response::RequestBody(_) | Response::RequestTrailers(_) => {
            Some(Direction::Request)
        }
        Response::ResponseHeaders(_) | Response::ResponseBody(_) | Response::ResponseTrailers(_) => {
            Some(Direction::Response)
        }
        Response::ImmediateResponse(_) | Response::StreamedImmediateResponse(_) => None,
    }
}
