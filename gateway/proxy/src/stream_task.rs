// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The tasks of HTTP/2 streams: on their worker, and over where a client lets no more of its answer through for too long.
//!
//! The HTTP/2 library waits for the client's window without a limit and does not look at the answer's body meanwhile, so that no limit
//! of the body can end it.

use crate::connection::Connection;
use crate::idle::IdleTimer;
use hyper::rt::Executor;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::task::spawn_local;

/// What the answer of the stream that is being polled did last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing.
    Untouched,
    /// It has nothing to send yet.
    Awaited,
    /// It has, or had, something to send.
    Offered,
}

thread_local! {
    static FLOW: Cell<Flow> = const { Cell::new(Flow::Untouched) };
}

/// An answer has something to send: from now on the client has to take it.
pub(crate) fn offered() {
    FLOW.set(Flow::Offered);
}

/// An answer waits for who makes it.
pub(crate) fn awaited() {
    FLOW.set(Flow::Awaited);
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(crate) struct StreamExecutor(pub(crate) Rc<Connection>);

impl<F: Future<Output = ()> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        spawn_local(run(Rc::clone(&self.0), future));
    }
}

async fn run(connection: Rc<Connection>, future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut stall = IdleTimer::new(Some(connection.stalled()));
    let mut waits = false;
    poll_fn(|context| {
        FLOW.set(Flow::Untouched);
        if future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match FLOW.get() {
            Flow::Untouched => {}
            Flow::Awaited => waits = false,
            Flow::Offered => {
                waits = true;
                stall.moved();
            }
        }
        if !waits || !stall.poll_expired(context) {
            return Poll::Pending;
        }
        // Dropped unfinished, the stream is reset.
        connection.settings().metrics.downstream_rq_idle_timeout.increment();
        Poll::Ready(())
    })
    .await;
}
