// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The way through an HTTP proxy: `CONNECT`, and its answer.

use crate::error::ConnectError;
use std::fmt::Display;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The head of a proxy's answer is no larger, bytes.
const MAX_HEAD: usize = 4096;

/// Asks for a way to an endpoint. Not a byte behind the answer's head is taken.
pub(crate) async fn open(stream: &mut TcpStream, endpoint: impl Display) -> Result<(), ConnectError> {
    let failed = |error: std::io::Error| ConnectError::Tcp(error.into());
    let request = format!("CONNECT {endpoint} HTTP/1.1\r\nHost: {endpoint}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::new();
    let mut seen = [0; 1024];
    loop {
        let count = stream.peek(&mut seen).await.map_err(failed)?;
        if count == 0 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let before = head.len();
        head.extend_from_slice(seen.get(..count).unwrap_or_default());
        let end = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let taken = end.unwrap_or(head.len()) - before;
        stream.read_exact(seen.get_mut(..taken).unwrap_or_default()).await.map_err(failed)?;
        if let Some(end) = end {
            head.truncate(end);
            return accepted(&head);
        }
        if head.len() >= MAX_HEAD {
            return Err(ConnectError::Proxy("its answer has no end".into()));
        }
    }
}

/// Any 2xx opens the way (RFC 9110, 9.3.6).
fn accepted(head: &[u8]) -> Result<(), ConnectError> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    match line {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            b'0' | b'1',
            b' ',
            b'2',
            b'0'..=b'9',
            b'0'..=b'9',
            rest @ ..,
        ] if matches!(rest.first(), None | Some(b' ')) => Ok(()),
        _ => Err(ConnectError::Proxy(format!("it answered {:?}", String::from_utf8_lossy(line)).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::accepted;

    #[test]
    fn only_2xx_opens_the_way() {
        for (head, opens) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 204\r\n\r\n", true),
            ("HTTP/1.1 2000 OK\r\n\r\n", false),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", false),
            ("HTTP/1.1 101 Switching\r\n\r\n", false),
            ("\r\n\r\n", false),
        ] {
            assert_eq!(accepted(head.as_bytes()).is_ok(), opens, "{head:?}");
        }
    }
}
