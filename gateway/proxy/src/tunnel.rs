// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes that pass between a client and an upstream as they are, in both directions, until either side or a limit ends them.

use crate::filters::Counter;
use crate::listener::{ListenerState, Phase};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep_until};

/// Bytes of each direction that are on their way.
const BUFFER: usize = 16 << 10;

/// How long a tunnel may last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TunnelLimits {
    /// Without a byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// In any case.
    pub(crate) end: Option<Instant>,
}

/// Why a tunnel ended.
#[derive(Debug)]
pub(crate) enum TunnelEnd {
    /// Both sides were done.
    Finished,
    /// One of them broke off.
    Broken(io::Error),
    /// Nothing has passed for too long.
    Idle,
    /// It lasted as long as it may.
    Late,
    /// Its listener closed.
    Closed,
}

/// What has passed.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Moves in either direction.
    moves: Cell<u64>,
    /// Bytes from the client.
    pub(crate) received: Cell<u64>,
    /// Bytes to the client.
    pub(crate) sent: Cell<u64>,
}

/// Numbers that go up while bytes pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meters<'a> {
    pub(crate) received: &'a Counter,
    pub(crate) sent: &'a Counter,
}

/// Passes bytes both ways until the tunnel ends. The sides stay open: who asks counts first, then lets go.
pub(crate) async fn pass<C, U>(
    (client, upstream): (&mut C, &mut U),
    (traffic, meters): (&Traffic, Option<Meters<'_>>),
    limits: TunnelLimits,
    listener: &Rc<ListenerState>,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Counted { inner: client, traffic, meters };
    let both = copy_bidirectional_with_sizes(&mut client, upstream, BUFFER, BUFFER);
    let late = async {
        match limits.end {
            Some(end) => sleep_until(end).await,
            None => pending().await,
        }
    };
    tokio::select! {
        result = both => match result {
            Ok(_) => TunnelEnd::Finished,
            Err(error) => TunnelEnd::Broken(error),
        },
        () = idle(traffic, limits.idle) => TunnelEnd::Idle,
        () = late => TunnelEnd::Late,
        () = Rc::clone(listener).reached(Phase::Closed) => TunnelEnd::Closed,
    }
}

/// Ends once nothing has passed for so long. The time is looked at when it would be over, not with every byte.
async fn idle(traffic: &Traffic, limit: Option<Duration>) {
    let Some(limit) = limit else { return pending().await };
    let mut since = Instant::now();
    let mut seen = traffic.moves.get();
    loop {
        sleep_until(since + limit).await;
        let now = traffic.moves.get();
        if now == seen {
            return;
        }
        (seen, since) = (now, Instant::now());
    }
}

/// The client's stream, counted.
struct Counted<'a, S> {
    inner: S,
    traffic: &'a Traffic,
    meters: Option<Meters<'a>>,
}

impl<S> Counted<'_, S> {
    fn note(&self, total: &Cell<u64>, meter: Option<&Counter>, bytes: usize) {
        if bytes > 0 {
            total.set(total.get().wrapping_add(bytes as u64));
            self.traffic.moves.set(self.traffic.moves.get().wrapping_add(1));
            if let Some(meter) = meter {
                meter.add(bytes as u64);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        self.note(&self.traffic.received, self.meters.map(|meters| meters.received), bytes);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &result {
            self.note(&self.traffic.sent, self.meters.map(|meters| meters.sent), *count);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
