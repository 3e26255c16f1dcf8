// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Floods of HTTP/2 frames: each connection ends within a bound, memory stays, a second client is served all the while, and a counter
//! says why.

use crate::crowd::settle;
use crate::h2_client::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, RST_STREAM,
    SETTINGS, Seen, WINDOW_UPDATE, frame, get, head, literal, string,
};
use crate::origin::Origin;
use crate::probe::Probe;
use crate::process::Process;
use crate::report::Report;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// Frames that go out at once before a look at what came back.
const BATCH: u32 = 100;
/// Time for a look.
const LOOK: Duration = Duration::from_secs(5);
/// KiB that the process may grow by during an attack.
const GROWTH: u64 = 8 * 1024;
/// Bound for what is counted over ten seconds and not by the frame: two allowances and a rest.
const TALK: u32 = 25_000;

/// One attack: its frames by their number.
struct Attack {
    name: &'static str,
    /// Frames within which the connection has to end.
    bound: u32,
    /// Before the first frame.
    first: Vec<u8>,
    /// Whether a PING may stand between two batches: inside a head none may.
    barrier: bool,
    /// The counter's label, one of these; none where the library answers without an error.
    reasons: &'static [&'static str],
    frames: fn(u32) -> Vec<u8>,
}

const FLOOD: &[&str] = &["http2_flood", "frame_flood", "rapid_reset"];
const ERROR: &[&str] = &["http2_flood", "http2_protocol", "frame_flood", "too_large"];

fn number(stream: u32) -> u32 {
    stream * 2 + 1
}

fn attack(name: &'static str, bound: u32, frames: fn(u32) -> Vec<u8>) -> Attack {
    Attack { name, bound, first: Vec::new(), barrier: true, reasons: FLOOD, frames }
}

/// Attacks by resetting, or being made to reset, one stream after the other.
fn resets() -> Vec<Attack> {
    vec![
        attack("rapid reset", 500, |n| {
            let stream = number(n / 2);
            if n.is_multiple_of(2) {
                get(stream, "/hang")
            } else {
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
            }
        }),
        attack("made to reset by WINDOW_UPDATE 0", 500, |n| {
            let stream = number(n / 2);
            if n.is_multiple_of(2) { get(stream, "/hang") } else { frame(WINDOW_UPDATE, 0, stream, &[0; 4]) }
        }),
        attack("made to reset by a window too large", 500, |n| {
            let (stream, largest) = (number(n / 2), 0x7fff_ffff_u32.to_be_bytes());
            if n.is_multiple_of(2) { get(stream, "/hang") } else { frame(WINDOW_UPDATE, 0, stream, &largest) }
        }),
        attack("made to reset by DATA behind the end", 500, |n| {
            let stream = number(n / 2);
            if n.is_multiple_of(2) { get(stream, "/hang") } else { frame(DATA, 0, stream, b"more") }
        }),
        attack("made to reset by a stream of its own parent", 500, |n| {
            let stream = number(n / 2);
            let itself = [&stream.to_be_bytes()[..], &[1]].concat();
            if n.is_multiple_of(2) { get(stream, "/hang") } else { frame(PRIORITY, 0, stream, &itself) }
        }),
        Attack {
            first: [get(1, "/hang"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat(),
            ..attack("resets of a stream that is over", TALK, |_| frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))
        },
    ]
}

/// Attacks by heads that never end or grow.
fn heads() -> Vec<Attack> {
    let open = frame(HEADERS, END_STREAM, 1, &head("GET", "/", &[]));
    let in_head = |name: &'static str, frames: fn(u32) -> Vec<u8>| Attack {
        first: open.clone(),
        barrier: false,
        reasons: ERROR,
        ..attack(name, 500, frames)
    };
    vec![
        in_head("CONTINUATION without end, empty", |_| frame(CONTINUATION, 0, 1, &[])),
        in_head("CONTINUATION without end, small", |_| frame(CONTINUATION, 0, 1, &literal(b"x-more", b"1"))),
        in_head("CONTINUATION without end, large", |_| {
            frame(CONTINUATION, 0, 1, &literal(b"x-more", &[b'a'; 8000]))
        }),
    ]
}

/// Attacks by frames that carry nothing.
fn empties() -> Vec<Attack> {
    let post = frame(HEADERS, END_HEADERS, 1, &head("POST", "/hang", &[]));
    let body = |name: &'static str, bound, frames: fn(u32) -> Vec<u8>| Attack {
        first: post.clone(),
        ..attack(name, bound, frames)
    };
    vec![
        body("empty DATA", 500, |_| frame(DATA, 0, 1, &[])),
        body("DATA of padding alone", 1000, |_| frame(DATA, PADDED, 1, &[3, 0, 0, 0])),
        attack("SETTINGS", TALK, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        attack("PING", TALK, |_| frame(PING, 0, 0, b"floods..")),
        attack("PRIORITY churn", TALK, |n| {
            frame(PRIORITY, 0, number(n % 50_000), &[0, 0, 0, 0, (n % 256) as u8])
        }),
        attack("frames of an unknown kind", TALK, |_| frame(0xbe, 0, 0, b"?")),
        attack("WINDOW_UPDATE by one byte", TALK, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        // The first one already says that the client wants no more: the connection ends as asked.
        Attack { reasons: &[], ..attack("GOAWAY again and again", TALK, |_| frame(GOAWAY, 0, 0, &[0; 8])) },
    ]
}

/// Runs all of them.
pub(crate) async fn run(
    report: &mut Report,
    gateway: &Process,
    origin: &Origin,
    to: SocketAddr,
) -> anyhow::Result<()> {
    let mut ends = serde_json::Map::new();
    for attack in resets().into_iter().chain(heads()).chain(empties()) {
        let watch = Watch::start(gateway, to).await;
        let (sent, seen) = carry_out(to, &attack).await?;
        let good = seen.is_over() && sent <= attack.bound + BATCH;
        report.check(&format!("{}: ends within {}", attack.name, attack.bound), good, || {
            format!("{sent} frames sent, {seen:?}")
        });
        ends.insert(attack.name.into(), json!({"frames": sent, "goaway": seen.goaway}));
        watch.end(report, gateway, attack.name, attack.reasons).await;
    }
    paced_resets(report, gateway, to, &mut ends).await?;
    bombs(report, gateway, origin, to).await?;
    let said = gateway.logged("ended for a flood");
    report.check("floods are logged, and not by the line each", (1..=8).contains(&said), || {
        format!("{said} lines")
    });
    report.figure("ended_after", ends);
    Ok(())
}

/// Sends an attack's frames until the connection is over or the bound is passed.
async fn carry_out(to: SocketAddr, attack: &Attack) -> anyhow::Result<(u32, Seen)> {
    let mut client = Client::connect(to, &[]).await?;
    client.send(&attack.first).await;
    let mut sent = 0;
    while sent <= attack.bound && !client.seen.is_over() {
        let batch: Vec<u8> = (sent..sent + BATCH).flat_map(attack.frames).collect();
        client.send(&batch).await;
        sent += BATCH;
        if attack.barrier {
            client.barrier(LOOK).await;
        } else {
            client.drain(Duration::from_millis(20)).await;
        }
    }
    client.until(Duration::from_secs(2), Seen::is_over).await;
    Ok((sent, client.seen))
}

/// Resets that come only after each request has reached its server: the library does not count them.
async fn paced_resets(
    report: &mut Report,
    gateway: &Process,
    to: SocketAddr,
    ends: &mut serde_json::Map<String, serde_json::Value>,
) -> anyhow::Result<()> {
    const NAME: &str = "rapid reset, one by one";
    let watch = Watch::start(gateway, to).await;
    let mut client = Client::connect(to, &[]).await?;
    let mut streams = 0;
    while streams < 1200 && !client.seen.is_over() {
        client.send(&get(number(streams), "/hang")).await;
        client.barrier(LOOK).await;
        client.send(&frame(RST_STREAM, 0, number(streams), &[0, 0, 0, 8])).await;
        streams += 1;
    }
    client.until(Duration::from_secs(2), Seen::is_over).await;
    let seen = client.seen;
    report.check(&format!("{NAME}: ends within 600 requests"), seen.is_over() && streams <= 600, || {
        format!("{streams} requests, {seen:?}")
    });
    ends.insert(NAME.into(), json!({"frames": streams * 2, "goaway": seen.goaway}));
    watch.end(report, gateway, NAME, FLOOD).await;
    Ok(())
}

/// Heads that are small on the wire and large once they are read: each is refused, memory stays.
async fn bombs(
    report: &mut Report,
    gateway: &Process,
    origin: &Origin,
    to: SocketAddr,
) -> anyhow::Result<()> {
    origin.take();
    // An entry of the dynamic table, and references to it.
    let mut entry = vec![0x40];
    string(&mut entry, b"x-bomb");
    string(&mut entry, &[b'b'; 3900]);
    let table = [&head("GET", "/", &[])[..], &entry, &vec![0xbe; 12_000][..]].concat();
    let many = [&head("GET", "/", &[])[..], &literal(b"a", b"").repeat(1500)].concat();
    let huge = head("GET", "/", &[(b"x-huge", &[b'h'; 15_900])]);
    for (name, block) in [("HPACK bomb", table), ("1,500 headers of one byte", many)] {
        let watch = Watch::start(gateway, to).await;
        let mut client = Client::connect(to, &[]).await?;
        let mut asked = 0;
        while asked < 200 && !client.seen.is_over() {
            client.send(&frame(HEADERS, END_STREAM | END_HEADERS, number(asked), &block)).await;
            asked += 1;
            client.until(LOOK, |seen| seen.is_over() || seen.answers + seen.resets >= asked).await;
        }
        let (seen, reached) = (client.seen, reached(origin));
        let answered = seen.is_over() || seen.answers + seen.resets >= asked;
        report.check(&format!("{name}: refused"), answered && reached == 0, || {
            format!("{asked} asked, {reached} at the server, {seen:?}")
        });
        watch.end(report, gateway, name, &[]).await;
    }
    let watch = Watch::start(gateway, to).await;
    let mut client = Client::connect(to, &[]).await?;
    client.send(&frame(HEADERS, END_STREAM, 1, &huge)).await;
    for _ in 0..64 {
        client.send(&frame(CONTINUATION, 0, 1, &literal(b"x-huge", &[b'h'; 15_900]))).await;
    }
    let over = client.until(LOOK, Seen::is_over).await;
    report.check("a head of 1 MiB: ends", over, || format!("{:?}", client.seen));
    watch.end(report, gateway, "a head of 1 MiB", ERROR).await;
    Ok(())
}

/// Requests at the server that are not the probe's.
fn reached(origin: &Origin) -> usize {
    origin.take().iter().filter(|seen| !seen.line.ends_with("/probe")).count()
}

/// What is watched during an attack.
struct Watch {
    probe: Probe,
    resident: u64,
    refused: u64,
}

impl Watch {
    async fn start(gateway: &Process, to: SocketAddr) -> Self {
        let refused = gateway.metric("gatefleet_http_requests_refused_total", "").await;
        Self { probe: Probe::start(to), resident: gateway.resident(), refused }
    }

    async fn end(self, report: &mut Report, gateway: &Process, name: &str, reasons: &[&str]) {
        let grown = gateway.resident().saturating_sub(self.resident);
        let served = self.probe.stop().await;
        report.check(&format!("{name}: memory stays"), grown <= GROWTH, || format!("{grown} KiB more"));
        report.check(&format!("{name}: others are served"), served.is_whole(), || {
            format!("{} requests, {:?}", served.count(), served.failures.first())
        });
        if reasons.is_empty() {
            return;
        }
        // The count follows the end that the client sees.
        let total = || gateway.metric("gatefleet_http_requests_refused_total", "");
        let counted = settle(|| async { total().await > self.refused }).await;
        let mut known = 0;
        for reason in reasons {
            known += gateway.metric("gatefleet_http_requests_refused_total", &format!("\"{reason}\"")).await;
        }
        report.check(&format!("{name}: counted"), counted && known > 0, || {
            format!("{} before, {known} of {reasons:?}", self.refused)
        });
    }
}
