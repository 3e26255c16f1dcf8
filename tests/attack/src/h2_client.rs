// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! An HTTP/2 client that sends what no library would: raw frames.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header as HPACK writes it without any table: for names and values up to 126 bytes each, longer values take one more byte or two.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    string(&mut bytes, name);
    string(&mut bytes, value);
    bytes
}

/// A string of HPACK, not compressed.
pub(crate) fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(rest as u8);
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend_from_slice(text);
}

/// A request's head: pseudo headers for a method and path, then more headers.
pub(crate) fn head(method: &str, path: &str, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = literal(b":method", method.as_bytes());
    bytes.push(0x86);
    bytes.extend(literal(b":path", path.as_bytes()));
    bytes.extend(literal(b":authority", b"attack.example"));
    for (name, value) in more {
        bytes.extend(literal(name, value));
    }
    bytes
}

/// HEADERS of a whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", path, &[]))
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The reason of the gateway's GOAWAY.
    pub(crate) goaway: Option<u32>,
    /// It ended the connection.
    pub(crate) closed: bool,
    /// Answers' heads, resets of streams, bytes of bodies.
    pub(crate) answers: u32,
    pub(crate) resets: u32,
    pub(crate) bytes: u64,
    pongs: u32,
}

impl Seen {
    /// Nothing more is to be expected of it.
    pub(crate) fn is_over(&self) -> bool {
        self.closed || self.goaway.is_some_and(|reason| reason != 0)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub(crate) seen: Seen,
    pings: u32,
}

impl Client {
    /// Connects and sends preface and settings.
    pub(crate) async fn connect(to: SocketAddr, settings: &[u8]) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, settings));
        stream.write_all(&bytes).await?;
        Ok(Self { stream, buffer: Vec::new(), seen: Seen::default(), pings: 0 })
    }

    /// Sends bytes; a gateway that takes none for a moment, or is gone, is seen later.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match timeout(Duration::from_secs(2), self.stream.write_all(bytes)).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => self.drain(Duration::from_millis(200)).await,
        }
    }

    /// Sends a PING and reads until it is answered, which the gateway does after everything before it; or until the end or the limit.
    pub(crate) async fn barrier(&mut self, limit: Duration) {
        self.pings += 1;
        self.send(&frame(PING, 0, 0, b"barrier.")).await;
        let until = Instant::now() + limit;
        while self.seen.pongs < self.pings && !self.seen.is_over() && self.read(until).await {}
    }

    /// Reads whatever comes within a time, or until the end.
    pub(crate) async fn drain(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        while !self.seen.closed && self.read(until).await {}
    }

    /// Reads until something holds.
    pub(crate) async fn until(&mut self, limit: Duration, holds: impl Fn(&Seen) -> bool) -> bool {
        let until = Instant::now() + limit;
        while !holds(&self.seen) {
            if self.seen.closed || !self.read(until).await {
                return holds(&self.seen);
            }
        }
        true
    }

    /// Reads once; false where nothing came in time.
    async fn read(&mut self, until: Instant) -> bool {
        let mut bytes = [0; 16 * 1024];
        match tokio::time::timeout_at(until, self.stream.read(&mut bytes)).await {
            Err(_) => false,
            Ok(Ok(0) | Err(_)) => {
                self.seen.closed = true;
                true
            }
            Ok(Ok(count)) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                self.frames();
                true
            }
        }
    }

    fn frames(&mut self) {
        while let Some((header, rest)) = self.buffer.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let Some(payload) = rest.get(..length) else { return };
            let (kind, flags) = (header[3], header[4]);
            let word = |at: usize| {
                payload.get(at..at + 4).and_then(|four| Some(u32::from_be_bytes(four.try_into().ok()?)))
            };
            match kind {
                DATA => self.seen.bytes += payload.len() as u64,
                HEADERS => self.seen.answers += 1,
                RST_STREAM => self.seen.resets += 1,
                PING if flags & 1 != 0 => self.seen.pongs += 1,
                GOAWAY => self.seen.goaway = word(4),
                _ => {}
            }
            self.buffer.drain(..9 + length);
        }
    }
}
