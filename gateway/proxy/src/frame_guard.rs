// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Follows the frames of an HTTP/2 client: counts those that ask for work without being part of a request, and says while a head is
//! coming in.
//!
//! The HTTP/2 library ends a connection for resets, continuations and empty data, but answers SETTINGS and PING for ever
//! (CVE-2019-9512, CVE-2019-9515) and takes any number of PRIORITY, unknown and WINDOW_UPDATE frames and of resets of streams that are
//! over. It waits for the rest of a head for ever, too.

use crate::preface::PREFACE;
use std::time::Duration;
use tokio::time::Instant;

const HEADER: usize = 9;
/// Frames without a request in them that a client may send in [`PERIOD`] on top of what it earns by taking answers.
const ALLOWED: u32 = 10_000;
const PERIOD: Duration = Duration::from_secs(10);
/// Bytes taken by the client that earn it one more: gRPC clients ping once for each piece that they read, to measure the link.
const EARN: u64 = 256;
/// The same for WINDOW_UPDATE: two for the smallest piece of an answer, which is its header and one byte.
const EARN_WINDOW: u64 = 5;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(crate) struct FrameGuard {
    place: Place,
    header: [u8; HEADER],
    /// HEADERS came without the end of the head.
    open_head: bool,
    talk: Allowance,
    windows: Allowance,
}

#[derive(Debug)]
enum Place {
    /// Bytes of the preface that are still to come.
    Preface(usize),
    /// Bytes of a frame's header that have come.
    Header(usize),
    /// Bytes of a frame's payload that are still to come.
    Payload(usize),
}

impl FrameGuard {
    /// A guard at the start of a connection.
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Preface(PREFACE.len()),
            header: [0; HEADER],
            open_head: false,
            talk: Allowance::new(EARN),
            windows: Allowance::new(EARN_WINDOW),
        }
    }

    /// The client took so many bytes.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.talk.earned += bytes as u64;
        self.windows.earned += bytes as u64;
    }

    /// Whether a request's head or a frame other than DATA has begun that is not complete.
    pub(crate) fn inside_head(&self) -> bool {
        let [_, _, _, kind, ..] = self.header;
        self.open_head
            || match self.place {
                Place::Header(known) => known > 0,
                Place::Payload(_) => kind != DATA,
                Place::Preface(_) => false,
            }
    }

    /// Looks at the next bytes. Where they are too many such frames: how many of the bytes come before the one too many.
    pub(crate) fn inspect(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.len() - at;
            match &mut self.place {
                Place::Preface(left) | Place::Payload(left) => {
                    let used = rest.min(*left);
                    *left -= used;
                    at += used;
                    if *left == 0 {
                        self.place = Place::Header(0);
                    }
                }
                Place::Header(known) => {
                    let known = *known;
                    let used = rest.min(HEADER - known);
                    self.header[known..known + used].copy_from_slice(&bytes[at..at + used]);
                    if known + used < HEADER {
                        self.place = Place::Header(known + used);
                        return Ok(());
                    }
                    if !self.may_come() {
                        return Err(at);
                    }
                    at += used;
                    let [high, middle, low, ..] = self.header;
                    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                    self.place = if length == 0 { Place::Header(0) } else { Place::Payload(length) };
                }
            }
        }
        Ok(())
    }

    /// Whether the frame whose header has come is still allowed. DATA, HEADERS, PUSH_PROMISE, GOAWAY and CONTINUATION are the library's.
    fn may_come(&mut self) -> bool {
        let [_, _, _, kind, flags, ..] = self.header;
        match kind {
            HEADERS | CONTINUATION => {
                self.open_head = flags & END_HEADERS == 0;
                true
            }
            DATA | 5 | 7 => true,
            // SETTINGS and PING, but not the answers to ours.
            4 | 6 if flags & 1 != 0 => true,
            8 => self.windows.take(),
            _ => self.talk.take(),
        }
    }
}

/// How many frames of a kind may still come.
#[derive(Debug)]
struct Allowance {
    /// Bytes that earn one.
    each: u64,
    count: u32,
    earned: u64,
    since: Option<Instant>,
}

impl Allowance {
    fn new(each: u64) -> Self {
        Self { each, count: 0, earned: 0, since: None }
    }

    /// Counts one; false where it is one too many.
    fn take(&mut self) -> bool {
        self.count += 1;
        if self.count < ALLOWED {
            return true;
        }
        // The clock is asked only now, so that a connection that talks little pays nothing: the first allowance has no period.
        let now = Instant::now();
        let earned = u32::try_from(self.earned / self.each).unwrap_or(u32::MAX).min(ALLOWED);
        let over = self.since.is_some_and(|since| now - since < PERIOD);
        self.earned = 0;
        if over && earned == 0 {
            return false;
        }
        if over {
            self.count -= earned;
        } else {
            self.since = Some(now);
            self.count = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, FrameGuard};
    use crate::preface::PREFACE;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, u8::try_from(payload).unwrap(), kind, flags, 0, 0, 0, 0];
        bytes.resize(9 + payload, 7);
        bytes
    }

    /// How many of such frames pass before one is refused, of at most 40,000.
    fn passes(frame: &[u8], piece: usize, taken: usize) -> usize {
        let mut guard = FrameGuard::new();
        guard.inspect(PREFACE).unwrap();
        for count in 0..40_000 {
            guard.took(taken);
            if frame.chunks(piece).any(|piece| guard.inspect(piece).is_err()) {
                return count;
            }
        }
        40_000
    }

    #[test]
    fn talk_without_requests_is_limited_and_nothing_else() {
        let twice = 2 * ALLOWED as usize;
        for (kind, flags, payload) in [(6, 0, 8), (4, 0, 0), (2, 0, 5), (99, 0, 0), (3, 0, 4), (8, 0, 4)] {
            for piece in [1, 4, 9, 100] {
                let passed = passes(&frame(kind, flags, payload), piece, 0);
                assert!((ALLOWED as usize..=twice + 1).contains(&passed), "{kind} {passed}");
            }
        }
        for (kind, flags, payload) in [(6, 1, 8), (4, 1, 0), (0, 0, 100), (1, 4, 20)] {
            assert_eq!(passes(&frame(kind, flags, payload), 7, 0), 40_000, "{kind}");
        }
        // A client that reads as it pings goes on.
        assert_eq!(passes(&frame(6, 0, 8), 9, 300), 40_000);
        // So does one that acknowledges every little piece of an answer, for its stream and for the connection.
        assert_eq!(passes(&[frame(8, 0, 4), frame(8, 0, 4)].concat(), 13, 10), 40_000);
        // The answers to its pings earn it little.
        assert!(passes(&frame(6, 0, 8), 9, 17) < 2 * twice);
    }

    #[test]
    fn a_head_is_inside_until_its_end_whatever_the_pieces() {
        let mut guard = FrameGuard::new();
        let mut inside = |bytes: &[u8]| {
            guard.inspect(bytes).unwrap();
            guard.inside_head()
        };
        assert!(!inside(PREFACE));
        assert!(inside(&[0, 0]), "a frame has begun");
        assert!(inside(&[20, 1, 4, 0, 0, 0, 1, 7]), "its payload too");
        assert!(!inside(&[7; 19]));
        assert!(inside(&frame(1, 0, 20)), "no end of the head");
        assert!(inside(&frame(9, 0, 5)));
        assert!(!inside(&frame(9, 4, 5)));
        let (begun, rest) = (&frame(0, 0, 100)[..50], &frame(0, 0, 100)[50..]);
        assert!(!inside(begun), "a body has its own limit");
        assert!(!inside(rest));
    }

    #[test]
    fn what_came_before_the_refused_frame_is_kept() {
        let mut guard = FrameGuard::new();
        guard.inspect(PREFACE).unwrap();
        let mut all = Vec::new();
        (0..30_000).for_each(|_| all.extend(frame(6, 0, 8)));
        let keep = guard.inspect(&all).unwrap_err();
        assert!(keep.is_multiple_of(17) && keep > 0);
    }
}
