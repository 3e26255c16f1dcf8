// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One connection that speaks HTTP: hyper with safe limits, drain, and time limits that hyper does not have.

use crate::connection::Connection;
use crate::downstream_io::DownstreamIo;
use crate::head_guard::Refusal;
use crate::listener::{Phase, Watch};
use crate::record::Record;
use crate::request;
use crate::response_body::ResponseBody;
use crate::stream_task::StreamExecutor;
use crate::watchdog::{Verdict, Watchdog};
use ::http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Bytes of a request or an answer that one HTTP/1 connection holds; heads may need more.
const BUFFER: usize = 64 << 10;

/// Serves HTTP/1. Between requests that are far apart, the connection is held without hyper and its buffers.
pub(crate) async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Rc<Connection>,
    mut io: DownstreamIo<S>,
) {
    let settings = connection.settings();
    settings.metrics.downstream_cx_http1_total.increment();
    let mut builder = http1::Builder::new();
    let head = settings.http.limits.max_headers_bytes as usize;
    builder.header_read_timeout(None).max_header_size(head).max_buf_size(BUFFER.max(head));
    if settings.http.limits.max_headers != 100 {
        // hyper parses its default of 100 on the stack.
        builder.max_headers(settings.http.limits.max_headers as usize);
    }
    drop(settings);
    let mut driver = Driver::new(&connection, false);
    loop {
        // Nothing of it has a name of its own here: what is moved away would still have its room in this future.
        let mut served =
            Box::new(builder.serve_connection(TokioIo::new(io), service(&connection)).with_upgrades());
        let refusal = match driver.drive(Pin::new(&mut *served)).await {
            Driven::Rests => None,
            Driven::Ended { refusal } => Some(refusal),
        };
        if let Some(refusal) = refusal {
            drop(served);
            note_refusal(&connection, refusal);
            return connection.tunnel_ended().await;
        }
        let Some(stream) = taken_back(*served) else { return };
        io = stream;
        if !driver.rest(&mut io).await {
            return;
        }
    }
}

/// The stream of a connection that rests.
fn taken_back<T, S>(
    served: http1::UpgradeableConnection<TokioIo<DownstreamIo<T>>, S>,
) -> Option<DownstreamIo<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let parts = served.into_parts()?;
    let mut io = parts.io.into_inner();
    io.give_back(parts.read_buf);
    Some(io)
}

/// Bytes of an answer that one HTTP/2 stream holds for its client.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may make us reset by breaking their protocol (CVE-2025-8671).
const STREAM_ERRORS: usize = 100;

/// Serves HTTP/2 and nothing else.
pub(crate) async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Rc<Connection>,
    io: DownstreamIo<S>,
) {
    let settings = connection.settings();
    settings.metrics.downstream_cx_http2_total.increment();
    let (limits, defaults) = (&settings.http.limits, connection.worker().limits());
    let mut builder = http2::Builder::new(StreamExecutor(Rc::clone(&connection)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams.unwrap_or(defaults.http2_streams))
        .initial_stream_window_size(limits.initial_stream_window.unwrap_or(defaults.http2_stream_window))
        .initial_connection_window_size(
            limits.initial_connection_window.unwrap_or(defaults.http2_connection_window),
        )
        .max_header_list_size(limits.max_headers_bytes)
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(STREAM_ERRORS);
    if limits.extended_connect {
        builder.enable_connect_protocol();
    }
    let mut served = pin!(builder.serve_connection(TokioIo::new(io), service(&connection)));
    let driven = Driver::new(&connection, true).drive(served.as_mut()).await;
    let found = if let Driven::Ended { refusal } = driven { refusal } else { None };
    if let Some(reason) = connection.stream().refusal().or(found) {
        settings.metrics.count_refusal(reason);
        settings.metrics.downstream_cx_protocol_error.increment();
        if matches!(reason, Refusal::FrameFlood | Refusal::Http2Flood | Refusal::RapidReset) {
            note_flood(&connection, reason);
        }
    }
}

/// Says who floods, now and then: a log must not become the flood's second victim.
fn note_flood(connection: &Connection, reason: Refusal) {
    let Some(others) = connection.worker().flood_log().due() else { return };
    let info = connection.info();
    tracing::warn!(
        listener = %info.listener,
        remote = %info.remote,
        reason = reason.as_str(),
        others,
        "connection ended for a flood; the next line in a minute at the earliest"
    );
}

fn service(
    connection: &Rc<Connection>,
) -> impl Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: 'static>
+ 'static {
    let connection = Rc::clone(connection);
    service_fn(move |request| request::serve(Rc::clone(&connection), request))
}

/// A connection that can be asked to end.
trait Graceful: Future<Output = Result<(), hyper::Error>> {
    fn end(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, StreamExecutor>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    StreamExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, ResponseBody>,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection within its limits.
struct Driver<'a> {
    connection: &'a Rc<Connection>,
    watch: Watch,
    watchdog: Watchdog,
    ending: bool,
}

/// Why driving stopped.
enum Driven {
    /// No request has come for a moment, and none is on its way.
    Rests,
    /// The connection ended, by itself or by a limit.
    Ended {
        /// What the client did to make it end.
        refusal: Option<Refusal>,
    },
}

impl<'a> Driver<'a> {
    fn new(connection: &'a Rc<Connection>, http2: bool) -> Self {
        let watchdog = Watchdog::new(Rc::clone(connection), http2);
        Self { connection, watch: connection.listener().watch(), watchdog, ending: false }
    }

    /// Drives hyper until the connection ends or comes to rest.
    async fn drive<C: Graceful>(&mut self, mut served: Pin<&mut C>) -> Driven {
        poll_fn(|context| {
            loop {
                if let Poll::Ready(result) = served.as_mut().poll(context) {
                    let refusal = result.err().and_then(|error| refusal(&error));
                    return Poll::Ready(Driven::Ended { refusal });
                }
                match self.judge(context) {
                    Verdict::Wait => return Poll::Pending,
                    Verdict::Cut => return Poll::Ready(Driven::Ended { refusal: None }),
                    Verdict::Rest if !self.ending => return Poll::Ready(Driven::Rests),
                    Verdict::Rest => {}
                    Verdict::End => {
                        if !self.ending {
                            served.as_mut().end();
                        }
                        self.ending = true;
                    }
                }
            }
        })
        .await
    }

    /// Waits for the client's next byte; false where the connection ended instead.
    async fn rest<S: AsyncRead + AsyncWrite + Unpin>(&mut self, io: &mut DownstreamIo<S>) -> bool {
        self.watchdog.rests(true);
        let settings = self.connection.settings();
        settings.metrics.downstream_cx_resting.increment();
        let woken = poll_fn(|context| {
            loop {
                if let Poll::Ready(woken) = io.poll_wake(context) {
                    return Poll::Ready(Some(woken.unwrap_or(false)));
                }
                match self.judge(context) {
                    Verdict::Wait => return Poll::Pending,
                    Verdict::Cut => return Poll::Ready(None),
                    Verdict::End => return Poll::Ready(Some(false)),
                    Verdict::Rest => {}
                }
            }
        })
        .await;
        self.watchdog.rests(false);
        settings.metrics.downstream_cx_resting.decrement();
        if woken == Some(false) {
            // A client that is gone already needs no goodbye.
            drop(io.shutdown().await);
        }
        woken == Some(true)
    }

    fn judge(&mut self, context: &mut Context<'_>) -> Verdict {
        self.watch.register(context.waker());
        if self.connection.listener().phase() == Phase::Closed {
            self.connection.settings().metrics.drain_forced.increment();
            return Verdict::Cut;
        }
        self.watchdog.poll(context)
    }
}

/// What a client did by what hyper says; none for a client that only went away.
fn refusal(error: &hyper::Error) -> Option<Refusal> {
    if error.is_parse() {
        return Some(Refusal::Syntax);
    }
    let h2 = error.source()?.downcast_ref::<h2::Error>().filter(|h2| !h2.is_remote())?;
    match h2.reason()? {
        h2::Reason::NO_ERROR | h2::Reason::CANCEL => None,
        h2::Reason::ENHANCE_YOUR_CALM => Some(Refusal::Http2Flood),
        _ => Some(Refusal::Http2Protocol),
    }
}

/// Counts and logs a request whose head was refused; hyper has answered it.
fn note_refusal(connection: &Rc<Connection>, found: Option<Refusal>) {
    let Some(reason) = connection.stream().refusal().or(found) else {
        return;
    };
    let settings = connection.settings();
    settings.metrics.count_refusal(reason);
    settings.metrics.downstream_cx_protocol_error.increment();
    let mut record = Record::begin(connection, Version::HTTP_11);
    record.keep_unread(Method::GET, None, Version::HTTP_11, None);
    record.status = 400;
    record.flags = gateway_filter_api::ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
    record.details = Some(reason.as_str().into());
    record.complete = true;
}
