// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! WebSocket messages against an origin that echoes bytes.

use crate::report::Report;
use anyhow::ensure;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The key of RFC 6455's example, so that the origin knows the answer without a hash.
const REQUEST: &[u8] =
    b"GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Runs the load and prints its report.
pub(crate) async fn run(
    to: SocketAddr,
    connections: usize,
    seconds: Duration,
    bytes: usize,
) -> anyhow::Result<()> {
    let message = message(bytes)?;
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(open(to).await?);
    }
    let report = Rc::new(RefCell::new(Report::default()));
    let begun = Instant::now();
    let end = begun + seconds;
    let tasks = streams.into_iter().map(|mut stream| {
        let (message, report) = (&message, Rc::clone(&report));
        async move {
            let mut echo = vec![0; message.len()];
            while Instant::now() < end {
                let start = Instant::now();
                let done = async {
                    stream.write_all(message).await?;
                    stream.read_exact(&mut echo).await
                };
                match done.await {
                    Ok(_) if echo == *message => report.borrow_mut().add(start.elapsed()),
                    _ => {
                        report.borrow_mut().fail();
                        return;
                    }
                }
            }
        }
    });
    futures::future::join_all(tasks).await;
    report.take().print(begun.elapsed())
}

/// A binary message with its mask.
fn message(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut message = vec![0x82, 0x80 | 126];
    message.extend(u16::try_from(bytes)?.to_be_bytes());
    message.extend([0; 4]);
    message.resize(message.len() + bytes, b'x');
    Ok(message)
}

async fn open(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    stream.write_all(REQUEST).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "no upgrade: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}
