// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A body on its way through the plugins that want it, piece by piece.

use super::{FilterStreams, Offered};
use bytes::{Bytes, BytesMut};
use gateway_filter_api::{LocalResponse, Outcome, Pause};
use http::StatusCode;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Which body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The client's.
    Request,
    /// The upstream's.
    Response,
}

/// The run of one body through its plugins.
#[derive(Debug)]
pub(crate) struct BodyRun {
    streams: Rc<FilterStreams>,
    direction: Direction,
    plugins: Vec<Held>,
    piece: Option<Piece>,
    limit: usize,
}

/// A plugin in the order of the run, with what it keeps back.
#[derive(Debug)]
struct Held {
    at: usize,
    bytes: BytesMut,
}

/// The piece that is on its way.
#[derive(Debug)]
struct Piece {
    /// The next plugin, as a position in the run.
    next: usize,
    bytes: BytesMut,
    end: bool,
    pause: Option<Pause>,
    /// The plugin has seen the piece and asked for the pause.
    seen: bool,
}

impl BodyRun {
    /// None where no plugin wants the body; `limit` is what one plugin may keep back, bytes.
    pub(crate) fn new(streams: &Rc<FilterStreams>, direction: Direction, limit: usize) -> Option<Self> {
        let wanting = streams.wanting(direction);
        let plugins: Vec<Held> = wanting.into_iter().map(|at| Held { at, bytes: BytesMut::new() }).collect();
        (!plugins.is_empty()).then(|| Self {
            streams: Rc::clone(streams),
            direction,
            plugins,
            piece: None,
            limit,
        })
    }

    /// The filters that it runs through.
    pub(crate) fn streams(&self) -> &FilterStreams {
        &self.streams
    }

    /// Whether a piece is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.piece.is_some()
    }

    /// Starts a piece; the one before must have come out.
    pub(crate) fn start(&mut self, bytes: Bytes, end: bool) {
        // Copies only where another owner holds the same bytes.
        let bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        self.piece = Some(Piece { next: 0, bytes, end, pause: None, seen: false });
    }

    /// The piece as the plugins left it (perhaps empty, where one keeps it), and whether it is the last.
    ///
    /// # Errors
    /// The answer of a plugin that ends the request.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Bytes, bool), Box<LocalResponse>>> {
        let Self { streams, direction, plugins, piece: place, limit } = self;
        let Some(piece) = place else { return Poll::Ready(Ok((Bytes::new(), false))) };
        while let Some(held) = plugins.get_mut(piece.next) {
            if let Some(pause) = &mut piece.pause {
                ready!(Pin::new(pause).poll(context));
                piece.pause = None;
            } else if !held.bytes.is_empty() {
                let later = std::mem::replace(&mut piece.bytes, std::mem::take(&mut held.bytes));
                piece.bytes.extend_from_slice(&later);
            }
            let outcome =
                match streams.on_body(held.at, *direction, &mut piece.bytes, (piece.end, piece.seen)) {
                    Offered::Taken(outcome) => outcome,
                    Offered::Away(back) => {
                        piece.pause = Some(back);
                        continue;
                    }
                };
            piece.seen = matches!(outcome, Outcome::Pause(_));
            match outcome {
                Outcome::Pause(pause) => piece.pause = Some(pause),
                Outcome::Respond(response) => {
                    *place = None;
                    return Poll::Ready(Err(response));
                }
                Outcome::Buffer if !piece.end => {
                    if piece.bytes.len() > *limit {
                        *place = None;
                        return Poll::Ready(Err(Box::new(LocalResponse::new(
                            StatusCode::PAYLOAD_TOO_LARGE,
                            "body_above_buffer_limit",
                        ))));
                    }
                    held.bytes = std::mem::take(&mut piece.bytes);
                    *place = None;
                    return Poll::Ready(Ok((Bytes::new(), false)));
                }
                // Nothing more comes: there is nothing to wait for.
                Outcome::Continue | Outcome::Buffer => piece.next += 1,
            }
        }
        let done = (std::mem::take(&mut piece.bytes).freeze(), piece.end);
        *place = None;
        Poll::Ready(Ok(done))
    }
}
