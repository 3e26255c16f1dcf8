// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What WebSocket's handshake says over HTTP/1.1 (RFC 6455, section 4) and leaves out over HTTP/2 (RFC 8441, section 5): where one side
//! speaks the one and the other the other, the gateway says it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

static KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
static ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of one handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    accept: HeaderValue,
    /// The gateway made the key, so that it has to look at the answer.
    own: bool,
}

impl Handshake {
    /// Of the client's request, with a key of our own for `http2`; none where an HTTP/1.1 client sent no key.
    pub(crate) fn of(headers: &mut HeaderMap, http2: bool) -> Option<Self> {
        if http2 {
            let key = HeaderValue::try_from(STANDARD.encode(rand::random::<[u8; 16]>())).ok()?;
            headers.insert(KEY.clone(), key);
        }
        let text = [headers.get(&KEY)?.as_bytes(), GUID.as_bytes()].concat();
        let accept = HeaderValue::try_from(STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))).ok()?;
        Some(Self { accept, own: http2 })
    }

    /// Whether an answer over HTTP/1.1 is to this handshake; where the client made the key, it looks itself.
    pub(crate) fn is_answered_by(&self, headers: &HeaderMap) -> bool {
        !self.own || headers.get(&ACCEPT) == Some(&self.accept)
    }

    /// Gives the client's side of the answer its form.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) {
        if self.own {
            headers.remove(&ACCEPT);
        } else {
            headers.entry(ACCEPT.clone()).or_insert_with(|| self.accept.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ACCEPT, Handshake, KEY};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        let mut headers = HeaderMap::new();
        assert_eq!(Handshake::of(&mut headers, false), None);
        headers.insert(KEY.clone(), HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let handshake = Handshake::of(&mut headers, false).unwrap();
        let mut answer = HeaderMap::new();
        assert!(handshake.is_answered_by(&answer));
        handshake.answer(&mut answer);
        assert_eq!(answer[&ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn clients_of_http2_have_no_key() {
        let mut headers = HeaderMap::new();
        headers.insert(KEY.clone(), HeaderValue::from_static("chosen by the client"));
        let handshake = Handshake::of(&mut headers, true).unwrap();
        assert_ne!(headers[&KEY], "chosen by the client");
        let other = Handshake::of(&mut headers.clone(), true).unwrap();
        assert!(handshake != other);
        let mut answer = HeaderMap::new();
        assert!(!handshake.is_answered_by(&answer));
        other.answer(&mut answer);
        answer.insert(ACCEPT.clone(), handshake.accept.clone());
        assert!(handshake.is_answered_by(&answer) && !other.is_answered_by(&answer));
        handshake.answer(&mut answer);
        assert!(answer.is_empty());
    }
}
