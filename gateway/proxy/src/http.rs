// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One connection that speaks HTTP: hyper with safe limits, drain, and time limits that hyper does not have.

use crate::connection::Connection;
use crate::downstream_io::DownstreamIo;
use crate::head_guard::Refusal;
use crate::listener::Phase;
use crate::record::Record;
use crate::request;
use crate::response_body::ResponseBody;
use crate::watchdog::{Verdict, Watchdog};
use ::http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_local;

/// Serves HTTP/1.
pub(crate) async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Rc<Connection>,
    io: DownstreamIo<S>,
) {
    let settings = connection.settings();
    settings.metrics.downstream_cx_http1_total.increment();
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(settings.http.limits.max_headers_bytes as usize);
    if settings.http.limits.max_headers != 100 {
        // hyper parses its default of 100 on the stack.
        builder.max_headers(settings.http.limits.max_headers as usize);
    }
    let mut served = pin!(builder.serve_connection(TokioIo::new(io), service(&connection)).with_upgrades());
    let parse_error = drive(&connection, served.as_mut(), false).await;
    note_refusal(&connection, parse_error);
}

/// Serves HTTP/2 and nothing else.
pub(crate) async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Rc<Connection>,
    io: DownstreamIo<S>,
) {
    let settings = connection.settings();
    settings.metrics.downstream_cx_http2_total.increment();
    let (limits, defaults) = (&settings.http.limits, connection.worker().limits());
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams.unwrap_or(defaults.http2_streams))
        .initial_stream_window_size(limits.initial_stream_window.unwrap_or(defaults.http2_stream_window))
        .initial_connection_window_size(
            limits.initial_connection_window.unwrap_or(defaults.http2_connection_window),
        )
        .max_header_list_size(limits.max_headers_bytes);
    let mut served = pin!(builder.serve_connection(TokioIo::new(io), service(&connection)));
    if drive(&connection, served.as_mut(), true).await {
        settings.metrics.downstream_cx_protocol_error.increment();
    }
}

fn service(
    connection: &Rc<Connection>,
) -> impl Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: 'static>
+ 'static {
    let connection = Rc::clone(connection);
    service_fn(move |request| {
        let connection = Rc::clone(&connection);
        async move { Ok(request::serve(connection, request).await) }
    })
}

/// Tasks of HTTP/2 streams stay on the worker.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// A connection that can be asked to end.
trait Graceful: Future<Output = Result<(), hyper::Error>> {
    fn end(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, LocalExecutor>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    LocalExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, ResponseBody>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection until it ends, by itself or by a limit. True where it ended because the client's bytes were no HTTP.
async fn drive<C: Graceful>(connection: &Rc<Connection>, mut served: Pin<&mut C>, http2: bool) -> bool {
    let mut watch = connection.listener().watch();
    let mut watchdog = Watchdog::new(Rc::clone(connection), http2);
    let mut ending = false;
    let result = poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = served.as_mut().poll(context) {
                return Poll::Ready(Some(result));
            }
            watch.register(context.waker());
            if connection.listener().phase() == Phase::Closed {
                connection.settings().metrics.drain_forced.increment();
                return Poll::Ready(None);
            }
            match watchdog.poll(context) {
                Verdict::Wait => return Poll::Pending,
                Verdict::Cut => return Poll::Ready(None),
                Verdict::End => {
                    if !ending {
                        served.as_mut().end();
                    }
                    ending = true;
                }
            }
        }
    })
    .await;
    matches!(result, Some(Err(error)) if error.is_parse())
}

/// Counts and logs a request whose head was refused; hyper has answered it.
fn note_refusal(connection: &Rc<Connection>, parse_error: bool) {
    let Some(reason) = connection.stream().refusal().or(parse_error.then_some(Refusal::Syntax)) else {
        return;
    };
    let settings = connection.settings();
    settings.metrics.count_refusal(reason);
    settings.metrics.downstream_cx_protocol_error.increment();
    let mut record = Record::begin(connection, Version::HTTP_11);
    record.keep_unread(Method::GET, Version::HTTP_11);
    record.status = 400;
    record.flags = crate::flags::ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
    record.details = Some(reason.as_str());
    record.complete = true;
}
