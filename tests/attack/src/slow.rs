// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that let the gateway wait, in every phase of a connection, many at once: each is closed when its time is over, and another
//! client is served all the while.

use crate::h2_client::{CONTINUATION, Client, DATA, END_HEADERS, HEADERS, SETTINGS, frame, get, head};
use crate::probe::Probe;
use crate::process::Process;
use crate::report::Report;
use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What the listeners of this suite allow in every phase.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);
/// What may come on top of it: timers, many connections at once, a goodbye.
const GRACE: Duration = Duration::from_secs(2);
/// Time between two bytes of a client that drips.
const DRIP: Duration = Duration::from_millis(200);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) proxied: SocketAddr,
    /// A listener with the usual limits.
    pub(crate) probe: SocketAddr,
}

/// What ends when the time of a slow client is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its connection.
    Connection,
    /// The same, and it reads nothing before.
    Deaf,
    /// Its HTTP/2 stream: other streams of the connection may be fine.
    Stream,
}

/// A way to be slow.
struct Slow {
    name: &'static str,
    to: SocketAddr,
    /// Sent at once.
    first: Vec<u8>,
    /// Sent byte by byte behind it.
    drip: &'static [u8],
    end: End,
    /// A counter that has to grow.
    counter: &'static str,
}

fn ways(targets: Targets) -> anyhow::Result<Vec<Slow>> {
    let Targets { plain, tls, proxied, .. } = targets;
    let way = |name, to, first: &[u8], drip, counter| Slow {
        name,
        to,
        first: first.to_vec(),
        drip,
        end: End::Connection,
        counter,
    };
    let http2 = |rest: &[u8]| [PREFACE, &frame(SETTINGS, 0, 0, &[]), rest].concat();
    let open_head = frame(HEADERS, 0, 1, &head("GET", "/", &[]));
    let post = frame(HEADERS, END_HEADERS, 1, &head("POST", "/", &[]));
    let hello = client_hello()?;
    let headers = "downstream_rq_header_timeout";
    let early = "downstream_pre_cx_timeout";
    let mut ways = vec![
        way("no byte", plain, b"", b"", early),
        way("half a head", plain, b"GET / HTTP/1.1\r\nHost: slow", b"", headers),
        way(
            "a head that drips",
            plain,
            b"GET / HTTP/1.1\r\nHost: slow\r\n",
            b"X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaa",
            headers,
        ),
        way("half a preface", plain, &PREFACE[..10], b"", early),
        way("an HTTP/2 head without end", plain, &http2(&open_head), b"", headers),
        way(
            "half of a CONTINUATION",
            plain,
            &http2(&[&open_head[..], &frame(CONTINUATION, 0, 1, &[0; 30])[..20]].concat()),
            b"",
            headers,
        ),
        way(
            "half a body",
            plain,
            b"POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 1000\r\n\r\nabc",
            b"",
            "downstream_rq_idle_timeout",
        ),
        way(
            "a chunk that does not end",
            plain,
            b"POST / HTTP/1.1\r\nHost: slow\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"",
            "downstream_rq_idle_timeout",
        ),
        way(
            "a body that drips",
            plain,
            b"POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 1000\r\n\r\n",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "downstream_rq_timeout",
        ),
        way("no TLS hello", tls, b"", b"", early),
        way("half a TLS hello", tls, &hello[..hello.len() / 2], b"", early),
        way("a TLS hello and no more", tls, &hello, b"", early),
        way("half a PROXY header", proxied, b"PROXY TCP4 192.0", b"", early),
        way("a PROXY header that drips", proxied, b"PROXY TCP4 ", b"192.0.2.1 198.51.100.1 1000", early),
    ];
    ways.push(Slow {
        end: End::Deaf,
        ..way(
            "a deaf reader",
            plain,
            b"GET /large HTTP/1.1\r\nHost: slow\r\n\r\n",
            b"",
            "downstream_cx_write_timeout",
        )
    });
    let stopped = [&post[..], &frame(DATA, 0, 1, b"abc")].concat();
    for (name, bytes, counter) in [
        ("an HTTP/2 body that stops", stopped, "downstream_rq_idle_timeout"),
        ("a closed HTTP/2 window", get(1, "/large"), "downstream_rq_idle_timeout"),
    ] {
        ways.push(Slow { end: End::Stream, ..way(name, plain, &bytes, b"", counter) });
    }
    Ok(ways)
}

/// The first flight of a TLS client.
fn client_hello() -> anyhow::Result<Vec<u8>> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// Runs all of them, `count` connections each.
pub(crate) async fn run(
    report: &mut Report,
    gateway: &Process,
    targets: Targets,
    count: usize,
) -> anyhow::Result<()> {
    let mut ends = serde_json::Map::new();
    for way in ways(targets)? {
        // Each of them makes the gateway and the server fill buffers, on top of the test's own.
        let count = if way.end == End::Deaf { count.div_ceil(5) } else { count };
        let before = gateway.metric("envoy_", way.counter).await;
        let probe = Probe::start(targets.probe);
        let slowest = all(&way, count).await?;
        let mut served = probe.stop().await;
        let after = gateway.metric("envoy_", way.counter).await;
        let name = way.name;
        report.check(
            &format!("{name}: {count} are closed in time"),
            slowest.is_some_and(|slowest| slowest <= LIMIT + GRACE),
            || format!("the slowest after {slowest:?}"),
        );
        report.check(&format!("{name}: others are served"), served.is_whole(), || {
            format!("{} requests, {:?}", served.count(), served.failures.first())
        });
        report.check(&format!("{name}: counted"), after >= before + count as u64, || {
            format!("{} was {before}, is {after}", way.counter)
        });
        ends.insert(
            name.into(),
            json!({"slowest_s": slowest.map(|s| s.as_secs_f64()), "probe_p99_ms": served.p99()}),
        );
    }
    report.figure("slow", ends);
    Ok(())
}

/// Opens all connections; how long the last one lived, none where one outlived everything.
async fn all(way: &Slow, count: usize) -> anyhow::Result<Option<Duration>> {
    let mut tasks = Vec::with_capacity(count);
    for _ in 0..count {
        let (first, drip) = (way.first.clone(), way.drip);
        tasks.push(match way.end {
            End::Connection => tokio::spawn(live(connect(way).await?, first, drip)),
            End::Deaf => tokio::spawn(deaf(connect(way).await?, first)),
            // No window for answers at all.
            End::Stream => tokio::spawn(stream(Client::connect(way.to, &[0, 4, 0, 0, 0, 0]).await?, first)),
        });
    }
    let mut lives = Vec::with_capacity(count);
    for task in tasks {
        lives.push(task.await?);
    }
    Ok(lives.into_iter().collect::<Option<Vec<_>>>().and_then(|lives| lives.into_iter().max()))
}

async fn connect(way: &Slow) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if way.end == End::Deaf {
        socket.set_recv_buffer_size(4096)?;
    }
    socket.connect(way.to).await.context("connect")
}

/// Reads nothing until the gateway must have had enough: a connection that goes on would give all of the answer then.
async fn deaf(mut stream: TcpStream, first: Vec<u8>) -> Option<Duration> {
    let _ = stream.write_all(&first).await;
    tokio::time::sleep(LIMIT + GRACE).await;
    let mut all = Vec::new();
    let read = tokio::time::timeout(GRACE, stream.read_to_end(&mut all)).await;
    (read.is_ok() && all.len() < 4 * 1024 * 1024).then_some(LIMIT + GRACE)
}

/// Lets a stream wait until the gateway ends it.
async fn stream(mut client: Client, first: Vec<u8>) -> Option<Duration> {
    let start = Instant::now();
    client.send(&first).await;
    let ended = client.until(LIMIT + 3 * GRACE, |seen| seen.resets > 0 || seen.is_over()).await;
    ended.then(|| start.elapsed())
}

/// Is slow until the gateway has had enough; how long that took.
async fn live(mut stream: TcpStream, first: Vec<u8>, drip: &'static [u8]) -> Option<Duration> {
    let start = Instant::now();
    let _ = stream.write_all(&first).await;
    let (mut reader, mut writer) = stream.split();
    let mut buffer = [0; 4096];
    let mut rest = drip.iter();
    loop {
        let left = (LIMIT + 3 * GRACE).checked_sub(start.elapsed())?;
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return Some(start.elapsed()),
                Ok(_) => {}
            },
            () = tokio::time::sleep(DRIP.min(left)) => if let Some(byte) = rest.next() {
                // A reset shows when reading.
                let _ = writer.write_all(&[*byte]).await;
            },
        }
    }
}
