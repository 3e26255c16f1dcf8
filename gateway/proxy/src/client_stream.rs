// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A client's socket, with bytes that were read ahead of those who take the stream over.

use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that first gives back what was read ahead.
#[derive(Debug)]
pub(crate) struct ClientStream {
    ahead: Bytes,
    socket: TcpStream,
}

impl ClientStream {
    /// Nothing is read yet.
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { ahead: Bytes::new(), socket }
    }

    /// Reads more bytes behind those in `seen`; none at the end of the stream. What was read ahead before comes first.
    pub(crate) async fn look(&mut self, seen: &mut Vec<u8>) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len();
            seen.extend_from_slice(&self.ahead);
            self.ahead = Bytes::new();
            return Ok(count);
        }
        self.socket.read_buf(seen).await
    }

    /// Gives bytes back: they are read first from now on.
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        self.ahead = if self.ahead.is_empty() {
            bytes.into()
        } else {
            Bytes::from([bytes, self.ahead.to_vec()].concat())
        };
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
