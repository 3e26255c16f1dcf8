// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The byte stream of one client: replays what was read to detect the protocol, guards HTTP/1 heads, notes stalls.

use crate::frame_guard::FrameGuard;
use crate::head_guard::{HeadGuard, Refusal, Verdict};
use bytes::{Buf, Bytes};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What a connection's task and its byte stream tell each other. Atomics because an upgraded stream may move between threads by
/// its type; in truth one thread uses them.
#[derive(Debug)]
pub(crate) struct StreamState {
    opened: Instant,
    refused: AtomicU8,
    tunnel: AtomicBool,
    /// The last byte that was read is not the last of a request.
    inside_request: AtomicBool,
    /// Milliseconds after `opened`, plus 1; 0: not so.
    head_since: AtomicU32,
    write_blocked_since: AtomicU32,
    /// Bytes of bodies that were handed to the parser and not written yet, as far as the stream can tell.
    unsent: AtomicU64,
}

impl StreamState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            refused: AtomicU8::new(0),
            tunnel: AtomicBool::new(false),
            inside_request: AtomicBool::new(false),
            head_since: AtomicU32::new(0),
            write_blocked_since: AtomicU32::new(0),
            unsent: AtomicU64::new(0),
        })
    }

    /// Why a head or body on this connection was refused.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let number = self.refused.load(Ordering::Relaxed);
        Refusal::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Refuses what else the client of an HTTP/2 connection sends: it ends at its next byte.
    pub(crate) fn refuse(&self, reason: Refusal) {
        self.refused.store(reason as u8, Ordering::Relaxed);
    }

    /// From now on the bytes are no longer HTTP/1 requests.
    pub(crate) fn become_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// Since when a request's head is coming in.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.instant(&self.head_since)
    }

    /// Since when the client has not taken what we want to send.
    pub(crate) fn write_blocked_since(&self) -> Option<Instant> {
        self.instant(&self.write_blocked_since)
    }

    /// Bytes of bodies that wait to be written. Heads and frames are written without having been counted, so it may be less.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// So many bytes of a body are handed to the parser.
    pub(crate) fn handed(&self, bytes: usize) {
        self.unsent.store(self.unsent() + bytes as u64, Ordering::Relaxed);
    }

    fn took(&self, bytes: usize) {
        self.unsent.store(self.unsent().saturating_sub(bytes as u64), Ordering::Relaxed);
    }

    /// Whether nothing of an HTTP/1 request or its answer is on its way, as far as the stream can tell.
    pub(crate) fn is_between_requests(&self) -> bool {
        !self.inside_request.load(Ordering::Relaxed)
            && !self.tunnel.load(Ordering::Relaxed)
            && self.refusal().is_none()
            && self.write_blocked_since().is_none()
    }

    fn instant(&self, since: &AtomicU32) -> Option<Instant> {
        let millis = since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.opened + Duration::from_millis(u64::from(millis)))
    }

    fn note(&self, since: &AtomicU32, holds: bool) {
        let noted = since.load(Ordering::Relaxed) != 0;
        if holds && !noted {
            let millis = u32::try_from(self.opened.elapsed().as_millis()).unwrap_or(u32::MAX - 1);
            since.store(millis + 1, Ordering::Relaxed);
        } else if !holds && noted {
            since.store(0, Ordering::Relaxed);
        }
    }
}

/// The stream that hyper reads and writes.
#[derive(Debug)]
pub(crate) struct DownstreamIo<S> {
    stream: S,
    replay: Replay,
    /// What a parser had read and not used when it was taken away; it passed the guard then.
    unused: Bytes,
    guard: Option<HeadGuard>,
    frames: Option<FrameGuard>,
    /// What the parser still gets instead of what was refused; none while nothing was.
    poison: Option<&'static [u8]>,
    linger: Option<Pin<Box<Sleep>>>,
    state: Arc<StreamState>,
}

/// Ends any head, and no parser takes it: hyper answers 400 behind all earlier responses and closes.
const POISON: &[u8] = b"\0\r\n\r\n";

/// A PING of a stream: the HTTP/2 library answers with GOAWAY and closes.
const POISON_FRAME: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
/// How that GOAWAY begins, and the reason that it is to give instead.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0];
const ENHANCE_YOUR_CALM: u32 = 11;

/// How long a client may go on sending after our end of the connection.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that were read before the protocol was known.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    bytes: [u8; crate::preface::PREFACE.len()],
    start: usize,
    end: usize,
}

impl Replay {
    /// Room for more bytes.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// `count` bytes of the room were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// All bytes so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

impl<S> DownstreamIo<S> {
    /// A stream that first gives back what was read already; `guard` for HTTP/1.
    pub(crate) fn new(stream: S, replay: Replay, guard: Option<HeadGuard>, state: Arc<StreamState>) -> Self {
        Self { stream, replay, unused: Bytes::new(), guard, frames: None, poison: None, linger: None, state }
    }

    /// The same for HTTP/2.
    pub(crate) fn guarding_frames(mut self) -> Self {
        self.frames = Some(FrameGuard::new());
        self
    }

    /// Lets the guard of frames see the bytes of `buffer` from `start`; a frame too many is cut off like a refused head.
    fn inspect_frames(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        let Some(frames) = &mut self.frames else { return };
        if let Err(keep) = frames.inspect(&buffer.filled()[start..]) {
            self.state.refused.store(Refusal::FrameFlood as u8, Ordering::Relaxed);
            buffer.set_filled(start + keep);
            self.put_poison(buffer);
            return;
        }
        self.state.note(&self.state.head_since, frames.inside_head());
    }

    /// Lets the guard see the bytes of `buffer` from `start`. A refused head is cut off and poison follows in its place.
    fn inspect(&mut self, buffer: &mut ReadBuf<'_>, start: usize) -> io::Result<()> {
        let Some(guard) = &mut self.guard else {
            self.inspect_frames(buffer, start);
            return Ok(());
        };
        if buffer.filled().len() == start || self.state.tunnel.load(Ordering::Relaxed) {
            return Ok(());
        }
        match guard.inspect(&buffer.filled()[start..]) {
            Verdict::Pass => {
                self.state.note(&self.state.head_since, guard.inside_head());
                self.state.inside_request.store(guard.inside_request(), Ordering::Relaxed);
                Ok(())
            }
            Verdict::RefuseHead { keep, reason } => {
                self.state.refused.store(reason as u8, Ordering::Relaxed);
                buffer.set_filled(start + keep);
                self.put_poison(buffer);
                Ok(())
            }
            Verdict::RefuseBody(reason) => {
                self.state.refused.store(reason as u8, Ordering::Relaxed);
                self.poison = Some(b"");
                Err(io::Error::new(io::ErrorKind::InvalidData, reason.as_str()))
            }
        }
    }

    /// Takes back what a parser had read and not used.
    pub(crate) fn give_back(&mut self, unused: Bytes) {
        self.unused = unused;
    }

    fn put_poison(&mut self, buffer: &mut ReadBuf<'_>) {
        let whole = if self.frames.is_some() { POISON_FRAME } else { POISON };
        let poison = self.poison.get_or_insert(whole);
        let (now, later) = poison.split_at(poison.len().min(buffer.remaining()));
        buffer.put_slice(now);
        *poison = later;
    }

    fn count(&mut self, result: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(bytes)) = result else { return };
        self.state.took(*bytes);
        if let Some(frames) = &mut self.frames {
            frames.took(*bytes);
        }
    }

    fn wrote<T>(&self, result: Poll<T>) -> Poll<T> {
        self.state.note(&self.state.write_blocked_since, result.is_pending());
        result
    }
}

/// The bytes, with our reason in the GOAWAY among them.
fn with_reason(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(at) = memchr::memmem::find(&bytes, GOAWAY)
        && let Some(reason) = bytes.get_mut(at + 13..at + 17)
    {
        reason.copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    }
    bytes
}

impl<S: AsyncRead + Unpin> DownstreamIo<S> {
    /// Waits for the next byte and keeps it for the parser; false where the client has ended.
    pub(crate) fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.unused.is_empty() || self.replay.start < self.replay.end {
            return Poll::Ready(Ok(true));
        }
        self.replay = Replay::default();
        let mut buffer = ReadBuf::new(self.replay.room());
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        self.replay.filled(count);
        Poll::Ready(Ok(count > 0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DownstreamIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buffer.filled().len();
        if this.state.refusal().is_some() {
            // Nothing more of this client is read; once the poison is out, the stream has ended.
            this.put_poison(buffer);
            return Poll::Ready(Ok(()));
        }
        if !this.unused.is_empty() {
            let count = buffer.remaining().min(this.unused.len());
            buffer.put_slice(&this.unused[..count]);
            this.unused.advance(count);
            return Poll::Ready(Ok(()));
        }
        let replay = &mut this.replay;
        if replay.start < replay.end {
            let count = buffer.remaining().min(replay.end - replay.start);
            buffer.put_slice(&replay.bytes[replay.start..replay.start + count]);
            replay.start += count;
        } else {
            std::task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        }
        Poll::Ready(this.inspect(buffer, start))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for DownstreamIo<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.frames.is_some() && this.state.refusal().is_some() {
            let bytes = with_reason(bytes);
            return Pin::new(&mut this.stream).poll_write(context, &bytes);
        }
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.count(&result);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.frames.is_some() && this.state.refusal().is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            let bytes = with_reason(first);
            return Pin::new(&mut this.stream).poll_write(context, &bytes);
        }
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.count(&result);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(context);
        this.wrote(result)
    }

    /// An answer to a request that was still coming in would be lost by a reset: after our end, what the client sends is read and
    /// thrown away for a moment (RFC 9112, 9.6).
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            let unfinished = this.guard.as_ref().is_some_and(HeadGuard::inside_request)
                || (this.frames.is_some() && this.state.refusal().is_some());
            if !unfinished || this.state.tunnel.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.as_mut().poll(context).map(Ok),
            }
        }
    }
}
