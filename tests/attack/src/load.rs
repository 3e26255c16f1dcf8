// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that ask all the time, each in its own way, and notice everything that a user would.
//!
//! A request has failed when its connection broke before the whole answer was there, or the answer is not the right one. A client may find
//! that a connection was ended between two requests, before it sent anything: then it dials again, as clients do.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Time for one request.
const LIMIT: Duration = Duration::from_secs(10);
/// Failures that are kept with their reason.
const KEPT: usize = 5;
/// Pause after each request: the load is steady, it is no benchmark.
const PAUSE: Duration = Duration::from_millis(2);

/// A way to ask.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) to: SocketAddr,
    pub(crate) http2: bool,
    /// Settings of TLS; none: plain text.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// A connection for each request.
    pub(crate) once: bool,
    /// Ends at the first connection that is refused: its listener is meant to go.
    pub(crate) until_refused: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    pub(crate) reasons: Vec<String>,
    /// Connections after the first one that nobody asked for.
    pub(crate) dialled_again: usize,
}

/// Says whether an answer is right.
pub(crate) type Judge = Arc<dyn Fn(&Response<Bytes>) -> Result<(), String> + Send + Sync>;

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<(&'static str, JoinHandle<Tally>)>,
}

impl Load {
    /// Starts clients; each asks until it is told to stop.
    pub(crate) fn start(ways: &[Way], judge: &Judge) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = ways.iter().map(|way| {
            let (way, judge, stop) = (way.clone(), Arc::clone(judge), Arc::clone(&stop));
            (way.name, tokio::spawn(async move { Client::new(way, judge).run(&stop).await }))
        });
        let clients = clients.collect();
        Self { stop, clients }
    }

    /// Stops them, and tells what each saw.
    pub(crate) async fn stop(self) -> Vec<(&'static str, Tally)> {
        self.stop.store(true, Ordering::Relaxed);
        self.join().await
    }

    /// Waits until they end by themselves.
    pub(crate) async fn join(self) -> Vec<(&'static str, Tally)> {
        let mut tallies = Vec::new();
        for (name, client) in self.clients {
            let broken =
                || Tally { failed: 1, reasons: vec!["the client itself broke".into()], ..Tally::default() };
            tallies.push((name, client.await.unwrap_or_else(|_| broken())));
        }
        tallies
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

struct Client {
    way: Way,
    judge: Judge,
    connection: Option<Sender>,
    tally: Tally,
    dialled: usize,
}

/// How one request ended.
enum Ended {
    Good,
    /// The connection was gone before anything was sent.
    Unsent,
    /// Nobody listens any more.
    Refused,
}

impl Client {
    fn new(way: Way, judge: Judge) -> Self {
        Self { way, judge, connection: None, tally: Tally::default(), dialled: 0 }
    }

    async fn run(mut self, stop: &AtomicBool) -> Tally {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            match tokio::time::timeout(LIMIT, self.ask(number)).await {
                Ok(Ok(Ended::Good)) => self.tally.requests += 1,
                // Not a request yet.
                Ok(Ok(Ended::Unsent)) => continue,
                Ok(Ok(Ended::Refused)) => break,
                Ok(Err(error)) => self.fail(format!("{error:#}")),
                Err(_) => self.fail("no answer in time".into()),
            }
            tokio::time::sleep(PAUSE).await;
        }
        if !self.way.once {
            self.tally.dialled_again = self.dialled.saturating_sub(1);
        }
        self.tally
    }

    fn fail(&mut self, reason: String) {
        self.connection = None;
        self.tally.requests += 1;
        self.tally.failed += 1;
        if self.tally.reasons.len() < KEPT {
            self.tally.reasons.push(reason);
        }
    }

    async fn ask(&mut self, number: usize) -> anyhow::Result<Ended> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match self.dial().await {
                Ok(connection) => connection,
                Err(error) if self.way.until_refused && is_refused(&error) => return Ok(Ended::Refused),
                Err(error) => return Err(error.context("dial")),
            },
        };
        let (request, body) = self.request(number);
        let sent = match &mut connection {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Ok(Ended::Unsent),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => return Ok(Ended::Unsent),
            },
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) if is_unused(&error) => return Ok(Ended::Unsent),
            Err(error) => return Err(error.into_error()).context("send"),
        };
        let response = whole(response).await?;
        let closes = response.headers().get("connection").is_some_and(|value| value == "close");
        let expected = if number.is_multiple_of(LARGE_EVERY) { LARGE } else { body };
        if response.status() != 200 || response.body().len() != expected {
            bail!("{} with {} bytes, {expected} expected", response.status(), response.body().len());
        }
        (self.judge)(&response).map_err(anyhow::Error::msg)?;
        if !closes && !self.way.once {
            self.connection = Some(connection);
        } else if closes && !self.way.once {
            // It was told to.
            self.dialled = self.dialled.saturating_sub(1);
        }
        Ok(Ended::Good)
    }

    /// A small question, one with a body, or one for a large answer; with what comes back of it.
    fn request(&self, number: usize) -> (Request<Full<Bytes>>, usize) {
        let (method, path, body) = match number {
            _ if number.is_multiple_of(LARGE_EVERY) => (Method::GET, "/large", 0),
            _ if number.is_multiple_of(3) => (Method::POST, "/echo", 20_000),
            _ => (Method::POST, "/echo", 100),
        };
        let mut request = Request::builder().method(method);
        request = if self.way.http2 {
            request.uri(format!("http://load.example{path}"))
        } else {
            request.uri(path).header("host", "load.example")
        };
        if self.way.once && !self.way.http2 {
            request = request.header("connection", "close");
        }
        let made = request.body(Full::new(Bytes::from(vec![b'x'; body]))).unwrap_or_default();
        (made, body)
    }

    async fn dial(&mut self) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(self.way.to).await?;
        stream.set_nodelay(true)?;
        self.dialled += 1;
        match &self.way.tls {
            None => self.speak(stream).await,
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                let stream =
                    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.context("tls")?;
                self.speak(stream).await
            }
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
    ) -> anyhow::Result<Sender> {
        let io = TokioIo::new(stream);
        Ok(if self.way.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        })
    }
}

/// Every so many requests ask for a large answer.
const LARGE_EVERY: usize = 25;
/// Its length.
pub(crate) const LARGE: usize = 1024 * 1024;

async fn whole(response: Response<Incoming>) -> anyhow::Result<Response<Bytes>> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await.context("body")?.to_bytes()))
}

/// Nothing of the request was used, so that it may be sent again: it never left, or a goodbye (GOAWAY without an error) says that its stream
/// was not begun (RFC 9112, 9.6; RFC 9113, 6.8).
fn is_unused(error: &TrySendError<Request<Full<Bytes>>>) -> bool {
    let goodbye = |error: &hyper::Error| {
        let h2 = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
        Some(h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR))
    };
    error.message().is_some() || goodbye(error.error()).unwrap_or(false)
}

fn is_refused(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}
