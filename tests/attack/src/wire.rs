// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Raw bytes to the gateway and what comes back.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What came back for raw bytes.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    /// The gateway ended the connection.
    pub(crate) closed: bool,
}

impl Reply {
    /// The status of the first answer; none where there is no answer.
    pub(crate) fn status(&self) -> Option<u16> {
        let line = self.bytes.strip_prefix(b"HTTP/1.1 ")?;
        std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
    }

    /// Whether a line of the answer's head is this one, in any case.
    pub(crate) fn says(&self, line: &str) -> bool {
        String::from_utf8_lossy(&self.bytes).lines().any(|one| one.eq_ignore_ascii_case(line))
    }

    /// As text, cut.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).chars().take(160).collect()
    }
}

/// Sends bytes on a connection of their own and reads until the gateway closes or nothing comes for `quiet`.
pub(crate) async fn exchange(to: SocketAddr, bytes: &[u8], quiet: Duration) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    // It may be refused before it is all out.
    let _ = timeout(quiet, stream.write_all(bytes)).await;
    Ok(read(&mut stream, quiet).await)
}

/// Reads until the gateway closes or nothing comes for `quiet`.
pub(crate) async fn read(stream: &mut TcpStream, quiet: Duration) -> Reply {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match timeout(quiet, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Reply { bytes: answer, closed: true },
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
            Err(_) => return Reply { bytes: answer, closed: false },
        }
    }
}

/// A GET on a connection of its own, read to its end.
pub(crate) async fn get(to: SocketAddr, path: &str, limit: Duration) -> anyhow::Result<Reply> {
    let asked = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: attack.example\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        anyhow::Ok(read(&mut stream, limit).await)
    };
    timeout(limit, asked).await?
}
