// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A gRPC server over HTTP/2 with prior knowledge: one message for each request, then trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Serves until killed.
pub(crate) async fn run(listen: SocketAddr, bytes: usize) -> anyhow::Result<()> {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(u32::try_from(bytes)?);
    message.put_bytes(b'x', bytes);
    let message = message.freeze();
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let message = message.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, message.clone()));
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(1024);
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

type Answer = StreamBody<futures::stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>>;

async fn answer(request: Request<Incoming>, message: Bytes) -> Result<Response<Answer>, Infallible> {
    // The request's message is read to its end, as a server of that protocol does.
    drop(request.into_body().collect().await);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
