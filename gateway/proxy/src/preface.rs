// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tells HTTP/2 by prior knowledge from HTTP/1.1 on a plain-text port by the first bytes (RFC 9113, section 3.3).

use crate::downstream_io::Replay;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// What an HTTP/2 client sends first.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the bytes are the preface or differ from it. Cancelling loses the bytes: close the stream then.
///
/// # Errors
/// Those of the stream; `UnexpectedEof` where it ends without a byte.
pub(crate) async fn detect<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(bool, Replay)> {
    let mut replay = Replay::default();
    loop {
        let count = stream.read(replay.room()).await?;
        if count == 0 {
            return if replay.bytes().is_empty() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok((false, replay))
            };
        }
        replay.filled(count);
        if !PREFACE.starts_with(replay.bytes()) {
            return Ok((false, replay));
        }
        if replay.bytes().len() == PREFACE.len() {
            return Ok((true, replay));
        }
    }
}

/// How long a client may go on sending after our end of the connection.
const LINGER: Duration = Duration::from_secs(1);

/// Ends a connection so that its client sees an end and no reset: what it still sends is read and thrown away for a moment.
pub(crate) async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    // It may be gone already.
    let _ = stream.shutdown().await;
    let mut bytes = [0; 1024];
    let _ = timeout(LINGER, async { while matches!(stream.read(&mut bytes).await, Ok(1..)) {} }).await;
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, detect};

    #[tokio::test]
    async fn only_the_whole_preface_is_http2() {
        for (bytes, expected) in [
            (&PREFACE[..], true),
            (b"GET / HTTP/1.1\r\n", false),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"P", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", true),
        ] {
            let mut stream = bytes;
            let (http2, replay) = detect(&mut stream).await.unwrap();
            assert_eq!(http2, expected);
            assert!(bytes.starts_with(replay.bytes()) && !replay.bytes().is_empty());
        }
        assert!(detect(&mut &b""[..]).await.is_err());
    }
}
