// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Looks at a connection's first bytes for a TLS hello: whether there is one, for which name, with which protocols.

use crate::client_stream::ClientStream;
use rustls::server::{Acceptor, ClientHello};
use std::io;
use std::sync::Arc;

/// The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// A hello that is longer is none.
const LONGEST: usize = 64 << 10;

/// What a TLS hello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The server name, in lower case.
    pub(crate) server_name: Option<Arc<str>>,
    /// The protocols offered.
    pub(crate) application_protocols: Box<[Box<str>]>,
}

impl Hello {
    /// Reads what rustls parsed.
    pub(crate) fn of(hello: &ClientHello<'_>) -> Self {
        let protocols = hello.alpn().into_iter().flatten();
        Self {
            server_name: hello.server_name().map(|name| name.to_ascii_lowercase().into()),
            application_protocols: protocols.map(|name| String::from_utf8_lossy(name).into()).collect(),
        }
    }
}

/// Reads until it is clear whether the connection starts with a TLS hello, and gives all bytes back to the stream.
///
/// # Errors
/// Those of the stream; `UnexpectedEof` where it ends without a byte.
pub(crate) async fn look(stream: &mut ClientStream) -> io::Result<Option<Hello>> {
    let mut seen = Vec::new();
    let mut acceptor = Acceptor::default();
    let mut parsed = 0;
    let found = loop {
        if stream.look(&mut seen).await? == 0 {
            if seen.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            break None;
        }
        if seen.first() != Some(&HANDSHAKE) || seen.len() > LONGEST {
            break None;
        }
        match feed(&mut acceptor, &seen, &mut parsed) {
            Parsed::Hello(hello) => break Some(hello),
            Parsed::More => {}
            Parsed::Nothing => break None,
        }
    };
    stream.give_back(seen);
    Ok(found)
}

/// Reads a hello that comes in pieces, as [`look`] does.
pub(crate) fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Hello> {
    let (mut acceptor, mut seen, mut parsed) = (Acceptor::default(), Vec::new(), 0);
    for piece in pieces {
        seen.extend_from_slice(piece);
        if let Parsed::Hello(hello) = feed(&mut acceptor, &seen, &mut parsed) {
            return Some(hello);
        }
    }
    None
}

enum Parsed {
    Hello(Hello),
    More,
    Nothing,
}

fn feed(acceptor: &mut Acceptor, seen: &[u8], parsed: &mut usize) -> Parsed {
    loop {
        let mut rest = &seen[*parsed..];
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => return Parsed::More,
            Ok(count) => *parsed += count,
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Parsed::Hello(Hello::of(&accepted.client_hello())),
            Ok(None) if *parsed == seen.len() => return Parsed::More,
            Ok(None) => {}
            Err(_) => return Parsed::Nothing,
        }
    }
}
