// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The result of something that a filter waits for.

use gateway_filter_api::Pause;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

/// A place for a result that comes while the request is paused.
#[derive(Debug)]
pub(super) struct Awaited<T>(Rc<RefCell<Option<T>>>);

impl<T: 'static> Awaited<T> {
    /// A pause until `future` is done, and the place of its result. Where the request ends before, the future is dropped.
    pub(super) fn pause(future: impl Future<Output = T> + 'static) -> (Self, Pause) {
        let place = Rc::new(RefCell::new(None));
        let result = Rc::clone(&place);
        let pause = Pause::until(async move {
            let value = future.await;
            result.replace(Some(value));
        });
        (Self(place), pause)
    }

    /// The result, once.
    pub(super) fn take(&self) -> Option<T> {
        self.0.take()
    }
}
