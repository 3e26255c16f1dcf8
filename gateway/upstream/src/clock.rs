// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The time as a worker's requests need it: good to a turn of its event loop, without asking the system each time.

use std::cell::Cell;
use tokio::time::Instant;

/// Looks at the clock after which the system is asked, where the event loop never comes to rest.
const LOOKS: u32 = 32;

thread_local! {
    static NOW: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
}

/// Notes the time; a worker's runtime calls it each time it wakes. From the first call on, [`now`] serves this thread from it.
pub fn tick() {
    NOW.set(Some((Instant::now(), 0)));
}

/// The time of the last [`tick`], or of a look shortly before; the system's on a thread that has no ticks. For time limits and
/// durations, never for the order of events.
#[must_use]
pub fn now() -> Instant {
    match NOW.get() {
        Some((now, looks)) if looks < LOOKS => {
            NOW.set(Some((now, looks + 1)));
            now
        }
        Some(_) => {
            tick();
            Instant::now()
        }
        None => Instant::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::{LOOKS, now, tick};
    use std::time::Duration;

    #[test]
    fn time_goes_on_with_ticks_and_with_looks() {
        let of_system = now();
        assert!(now() > of_system || now().duration_since(of_system) < Duration::from_secs(1));
        tick();
        let first = now();
        while std::time::Instant::now() == first.into_std() {}
        assert_eq!(now(), first, "the same within a turn");
        let later = (0..=LOOKS).map(|_| now()).max().unwrap();
        assert!(later > first, "a loop that never rests has a time as well");
        tick();
        assert!(now() >= later);
    }
}
