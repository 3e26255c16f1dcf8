// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Waiting without blocking: a filter hands out a `Pause` and keeps the `Resume`.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What a paused request waits for. The proxy polls it within the request's own time limits.
pub struct Pause(Pin<Box<dyn Future<Output = ()>>>);

impl Pause {
    /// Waits until `future` is done (a callout, say).
    pub fn until(future: impl Future<Output = ()> + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// Waits until the handle is used or dropped.
    #[must_use]
    pub fn with_handle() -> (Resume, Self) {
        let state = Rc::new(State::default());
        (Resume(Rc::clone(&state)), Self::until(Waiting(state)))
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pause")
    }
}

/// Lets a paused request go on; dropping it does so too, so that no request waits for ever on a filter that is gone.
#[derive(Debug)]
pub struct Resume(Rc<State>);

impl Resume {
    /// The request goes on.
    pub fn resume(self) {}
}

impl Drop for Resume {
    fn drop(&mut self) {
        self.0.done.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Default)]
struct State {
    done: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("done", &self.done.get()).finish_non_exhaustive()
    }
}

struct Waiting(Rc<State>);

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.done.get() {
            return Poll::Ready(());
        }
        self.0.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::Pause;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_pause_ends_when_its_handle_is_used_or_dropped() {
        for used in [true, false] {
            let woken = Arc::new(Counter::default());
            let waker = Waker::from(Arc::clone(&woken));
            let mut context = Context::from_waker(&waker);
            let (resume, pause) = Pause::with_handle();
            let mut pause = pin!(pause);
            assert_eq!(pause.as_mut().poll(&mut context), Poll::Pending);
            if used {
                resume.resume();
            } else {
                drop(resume);
            }
            assert_eq!(woken.0.load(Ordering::Relaxed), 1);
            assert_eq!(pause.as_mut().poll(&mut context), Poll::Ready(()));
        }
    }
}
