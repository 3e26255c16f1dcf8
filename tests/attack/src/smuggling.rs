// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP/2 requests that would be others in HTTP/1.1, upgrades that are not granted, paths with more than one reading, and headers that
//! only a trusted proxy may set: none of it reaches the server in the client's way.

use crate::h2_client::{Client, DATA, END_HEADERS, END_STREAM, HEADERS, frame, head, literal};
use crate::origin::Origin;
use crate::report::Report;
use crate::wire;
use std::net::SocketAddr;
use std::time::Duration;

/// Time for an answer.
const LIMIT: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(300);

type Headers = &'static [(&'static [u8], &'static [u8])];

/// Runs all of them.
pub(crate) async fn run(report: &mut Report, origin: &Origin, to: SocketAddr) -> anyhow::Result<()> {
    heads(report, origin, to).await?;
    bodies(report, origin, to).await?;
    upgrades(report, origin, to).await?;
    paths(report, origin, to).await?;
    trust(report, origin, to).await
}

/// What the server saw for one HTTP/2 request, and whether the client got an answer or an error.
async fn asked(
    origin: &Origin,
    to: SocketAddr,
    frames: &[u8],
) -> anyhow::Result<(Vec<crate::origin::Seen>, bool)> {
    origin.take();
    let mut client = Client::connect(to, &[]).await?;
    client.send(frames).await;
    let ended = client.until(LIMIT, |seen| seen.is_over() || seen.answers > 0 || seen.resets > 0).await;
    Ok((origin.take(), ended))
}

/// Heads that no HTTP/1.1 request can carry: refused, nothing upstream.
async fn heads(report: &mut Report, origin: &Origin, to: SocketAddr) -> anyhow::Result<()> {
    let more: [(&str, Headers); 16] = [
        ("CR LF in a value", &[(b"x-a", b"1\r\nx-b: 2")]),
        ("LF in a value", &[(b"x-a", b"1\nx-b: 2")]),
        ("CR in a value", &[(b"x-a", b"1\rx-b: 2")]),
        ("NUL in a value", &[(b"x-a", b"1\x002")]),
        ("CR LF in a name", &[(b"x-a: 1\r\nx-b", b"2")]),
        ("colon in a name", &[(b"x:a", b"1")]),
        ("space in a name", &[(b"x a", b"1")]),
        ("capitals in a name", &[(b"X-A", b"1")]),
        ("empty name", &[(b"", b"1")]),
        ("transfer-encoding", &[(b"transfer-encoding", b"chunked")]),
        ("connection", &[(b"connection", b"x-a")]),
        ("keep-alive", &[(b"keep-alive", b"1")]),
        ("upgrade", &[(b"upgrade", b"websocket")]),
        ("te other than trailers", &[(b"te", b"gzip")]),
        ("a pseudo header behind others", &[(b"x-a", b"1"), (b":path", b"/canary")]),
        ("an unknown pseudo header", &[(b":canary", b"1")]),
    ];
    let mut cases: Vec<(String, Vec<u8>)> =
        more.iter().map(|(name, more)| ((*name).to_owned(), head("GET", "/canary", more))).collect();
    for path in
        ["", "canary", "*", "/a b", "/\r\n\r\nGET /canary", "/a\n", "/\0", "/\u{7f}", "http://other/canary"]
    {
        cases.push((format!("path {path:?}"), head("GET", path, &[])));
    }
    for method in ["GET /x HTTP/1.1\r\nx: y", "G ET", "", "GET\n"] {
        cases.push((format!("method {method:?}"), head(method, "/canary", &[])));
    }
    let two = [head("GET", "/canary", &[]), literal(b":path", b"/canary")].concat();
    cases.push(("two paths".into(), two));
    let authority = |value: &[u8]| {
        let mut bytes = literal(b":method", b"GET");
        bytes.push(0x86);
        bytes.extend(literal(b":path", b"/canary"));
        bytes.extend(literal(b":authority", value));
        bytes
    };
    for value in [&b"a.example\r\nx-b: 2"[..], b"user@a.example", b"a.example/path", b"a example", b""] {
        cases.push((format!("authority {:?}", String::from_utf8_lossy(value)), authority(value)));
    }
    for (name, block) in cases {
        let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
        let (seen, ended) = asked(origin, to, &bytes).await?;
        report.check(&format!("HTTP/2 to HTTP/1: {name}: refused"), seen.is_empty() && ended, || {
            format!("{seen:?}, ended {ended}")
        });
    }
    Ok(())
}

/// Lengths that differ from the body: the server never sees a complete request.
async fn bodies(report: &mut Report, origin: &Origin, to: SocketAddr) -> anyhow::Result<()> {
    let post = |length: &[u8]| head("POST", "/canary", &[(b"content-length", length)]);
    let cases: [(&str, Vec<u8>, &[u8]); 6] = [
        ("less than the length", post(b"10"), b"abc"),
        ("more than the length", post(b"3"), b"abcGET /canary HTTP/1.1\r\n\r\n"),
        ("a body for length 0", post(b"0"), b"abc"),
        ("a length that is none", post(b"+3"), b"abc"),
        (
            "a length twice",
            head("POST", "/canary", &[(b"content-length", b"3"), (b"content-length", b"4")]),
            b"abc",
        ),
        ("a length as list", post(b"3, 3"), b"abc"),
    ];
    for (name, block, body) in cases {
        let bytes = [frame(HEADERS, END_HEADERS, 1, &block), frame(DATA, END_STREAM, 1, body)].concat();
        let (seen, ended) = asked(origin, to, &bytes).await?;
        let whole = seen.iter().any(|seen| seen.complete);
        report.check(&format!("HTTP/2 to HTTP/1: {name}: refused"), !whole && ended, || {
            format!("{seen:?}, ended {ended}")
        });
    }
    Ok(())
}

/// What stands behind a request for an upgrade that the server does not grant is no request.
async fn upgrades(report: &mut Report, origin: &Origin, to: SocketAddr) -> anyhow::Result<()> {
    for protocol in ["websocket", "h2c", "TLS/1.0", "websocket, h2c"] {
        origin.take();
        let bytes = format!(
            "GET / HTTP/1.1\r\nHost: up.example\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /canary HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let reply = wire::exchange(to, bytes.as_bytes(), QUIET).await?;
        let seen = origin.take();
        // Where the gateway takes no notice of the header, the second request is one like any other, and answered.
        let answers = reply.bytes.windows(9).filter(|nine| nine == b"HTTP/1.1 ").count();
        let canaries = seen.iter().filter(|seen| seen.line.contains("canary")).count();
        let good = canaries == 0 || (answers == 2 && protocol != "websocket");
        report.check(&format!("Upgrade: {protocol}: nothing behind it is forwarded"), good, || {
            format!("{seen:?}, {}", reply.text())
        });
    }
    Ok(())
}

/// Spellings of a path: the server sees one that any reader takes for the same, or nothing.
async fn paths(report: &mut Report, origin: &Origin, to: SocketAddr) -> anyhow::Result<()> {
    let parts =
        ["..", ".", "%2e", "%2e%2e", ".%2e", "%2f", "%5c", "\\", "", ";a", "%00", "%c0%ae", "a", "%25%32%66"];
    let (mut bad, mut count) = (Vec::new(), 0);
    for first in parts {
        for second in parts {
            let path = format!("/public/{first}/{second}/admin");
            origin.take();
            let bytes = format!("GET {path} HTTP/1.1\r\nHost: paths.example\r\nConnection: close\r\n\r\n");
            let reply = wire::exchange(to, bytes.as_bytes(), LIMIT).await?;
            count += 1;
            let seen = origin.take();
            let refused = reply.status().is_some_and(|status| matches!(status, 307 | 400..=499));
            let dangerous = |line: &str| {
                let path = line.split(' ').nth(1).unwrap_or_default().to_ascii_lowercase();
                let dots =
                    path.split('/').any(|part| matches!(part.replace("%2e", ".").as_str(), "." | ".."));
                dots || ["%2f", "%5c", "\\", "%00"].iter().any(|odd| path.contains(odd))
            };
            if seen.iter().any(|seen| dangerous(&seen.line)) || (seen.is_empty() && !refused) {
                bad.push(format!("{path} -> {seen:?} {}", reply.text()));
            }
        }
    }
    report.check(&format!("{count} spellings of a path: one reading"), bad.is_empty(), || {
        format!("{} have more: {:?}", bad.len(), bad.first())
    });
    Ok(())
}

/// Headers that say who the client is: the client's own are not believed.
async fn trust(report: &mut Report, origin: &Origin, to: SocketAddr) -> anyhow::Result<()> {
    const LIES: [&str; 6] = [
        "x-forwarded-for: 203.0.113.9",
        "x-forwarded-client-cert: By=spiffe://lie",
        "x-envoy-internal: true",
        "x-envoy-external-address: 203.0.113.9",
        "x-forwarded-proto: https",
        "x-envoy-original-path: /lie",
    ];
    for connection in ["close", "close, x-forwarded-for, x-forwarded-proto, x-request-id"] {
        origin.take();
        let lies = LIES.join("\r\n");
        let bytes = format!(
            "GET /trust HTTP/1.1\r\nHost: trust.example\r\n{lies}\r\nConnection: {connection}\r\n\r\n"
        );
        wire::exchange(to, bytes.as_bytes(), LIMIT).await?;
        let seen = origin.take();
        let headers = seen.first().map(|seen| &seen.headers);
        let value =
            |name: &str| headers.and_then(|headers| headers.get(name)?.to_str().ok()).unwrap_or_default();
        let ours = value("x-forwarded-for").ends_with("127.0.0.1") && value("x-forwarded-proto") == "http";
        report
            .check(&format!("Connection: {connection}: our headers arrive"), ours, || format!("{headers:?}"));
        let believed = ["x-forwarded-client-cert", "x-envoy-external-address", "x-envoy-original-path"]
            .iter()
            .any(|name| value(name).contains("lie") || value(name).contains("203.0.113.9"));
        report.check(&format!("Connection: {connection}: no lie arrives"), !believed, || {
            format!("{headers:?}")
        });
    }
    origin.take();
    let bytes = b"GET /trust HTTP/1.1\r\nHost: trust.example\r\nX_Forwarded_For: 203.0.113.9\r\nConnection: close\r\n\r\n";
    let reply = wire::exchange(to, bytes, LIMIT).await?;
    let refused = reply.status() == Some(400) && origin.take().is_empty();
    report.check("a name with underscores: refused", refused, || reply.text());
    Ok(())
}
