// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Requests that want their connection for bytes of another kind: upgrades (RFC 9110, 7.8; RFC 8441 over HTTP/2), CONNECT that is passed
//! on, and CONNECT that ends here.

use crate::RequestBody;
use crate::body::{TunnelHold, UpstreamBody};
use crate::raw::RawConnection;
use http::header::{CONNECTION, UPGRADE};
use http::response::Parts;
use http::{HeaderValue, Method, Request, Response};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a request wants its connection for; an extension of the request.
#[derive(Clone, Debug)]
pub enum Switch {
    /// Another protocol. The request takes the form of the connection that it goes by.
    Upgrade {
        /// Its name, such as `websocket`.
        protocol: HeaderValue,
        /// The request's method on HTTP/1.1; on HTTP/2 it is CONNECT.
        method: Method,
    },
    /// Bytes for the endpoint: nothing of the request is sent, the connection is the answer.
    Terminate,
}

impl Switch {
    /// Whether the request itself goes no further.
    pub(crate) fn ends_here(&self) -> bool {
        matches!(self, Self::Terminate)
    }
}

/// Brings a request for an upgrade into the form of its connection.
pub(crate) fn prepare<B>(request: &mut Request<B>, http2: bool) {
    let Some(Switch::Upgrade { protocol, method }) = request.extensions().get().cloned() else { return };
    if http2 {
        request.headers_mut().remove(CONNECTION);
        request.headers_mut().remove(UPGRADE);
        *request.method_mut() = Method::CONNECT;
        let name = protocol.to_str().unwrap_or_default().to_ascii_lowercase();
        request.extensions_mut().insert(Protocol::from(&*name));
    } else {
        request.extensions_mut().remove::<Protocol>();
        *request.method_mut() = method;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, protocol);
    }
}

/// The upstream's side of a tunnel that its answer opened.
pub struct UpstreamTunnel<B: RequestBody> {
    way: Way,
    hold: TunnelHold<B>,
}

enum Way {
    Upgrade(OnUpgrade),
    Raw(Box<RawConnection>),
}

impl<B: RequestBody> std::fmt::Debug for UpstreamTunnel<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTunnel").finish_non_exhaustive()
    }
}

impl<B: RequestBody> UpstreamTunnel<B> {
    /// Takes the tunnel out of the answer that grants it.
    #[must_use]
    pub fn of(mut response: Response<UpstreamBody<B>>) -> (Parts, Self) {
        let upgrade = hyper::upgrade::on(&mut response);
        let (parts, body) = response.into_parts();
        let (raw, hold) = body.into_parts();
        (parts, Self { way: raw.map_or(Way::Upgrade(upgrade), Way::Raw), hold })
    }

    /// The stream, once the answer is out of the way.
    ///
    /// # Errors
    /// Where the connection ended before.
    pub async fn open(self) -> hyper::Result<TunnelStream<B>> {
        let stream = match self.way {
            Way::Upgrade(upgrade) => Stream::Upgraded(TokioIo::new(upgrade.await?)),
            Way::Raw(connection) => Stream::Raw(connection),
        };
        Ok(TunnelStream { stream, _hold: self.hold })
    }
}

/// Bytes to and from the upstream; the request counts as active at its host until this is dropped.
pub struct TunnelStream<B: RequestBody> {
    stream: Stream,
    _hold: TunnelHold<B>,
}

enum Stream {
    Upgraded(TokioIo<Upgraded>),
    Raw(Box<RawConnection>),
}

impl<B: RequestBody> std::fmt::Debug for TunnelStream<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TunnelStream").finish_non_exhaustive()
    }
}

// What it holds is not pinned.
impl<B: RequestBody> Unpin for TunnelStream<B> {}

impl<B: RequestBody> AsyncRead for TunnelStream<B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Raw(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl<B: RequestBody> AsyncWrite for TunnelStream<B> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Raw(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_flush(context),
            Stream::Raw(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Raw(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
