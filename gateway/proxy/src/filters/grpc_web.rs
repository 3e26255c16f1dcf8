// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! gRPC-Web: browsers' calls as gRPC, answers with their trailers in the body (gRPC, "PROTOCOL-WEB").

use crate::answer::{grpc_status_of, percent_encoded};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The flag of a frame that carries trailers.
const TRAILERS: u8 = 0x80;
/// As much of another server's body as a message repeats.
const MOST_FOREIGN: usize = 16 * 1024;
static ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// One call.
#[derive(Debug, Default)]
pub(crate) struct GrpcWeb {
    /// It is one of gRPC-Web.
    web: bool,
    /// The request is base64.
    text_request: bool,
    /// The answer is to be base64.
    text_response: bool,
    /// Characters of the request that make no whole group yet.
    rest: Vec<u8>,
    /// The answer's body is framed as gRPC.
    framed: bool,
    /// The answer is none of gRPC: its body becomes the message of a status.
    foreign: bool,
}

impl HttpFilter for GrpcWeb {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let headers = &mut context.request.headers;
        let kind = |headers: &HeaderMap, name: HeaderName| {
            let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
            match value {
                b"application/grpc-web" | b"application/grpc-web+proto" => Some(false),
                b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(true),
                _ => None,
            }
        };
        let Some(text) = kind(headers, CONTENT_TYPE) else { return Outcome::Continue };
        self.web = true;
        self.text_request = text;
        self.text_response = kind(headers, ACCEPT) == Some(true);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.entry(&ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        headers.remove(CONTENT_LENGTH);
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        !self.web
    }

    fn wants_request_body(&self) -> bool {
        self.text_request
    }

    fn on_request_body(
        &mut self,
        _context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        match decode(&mut self.rest, chunk, end_of_stream) {
            Some(decoded) => {
                *chunk = decoded;
                Outcome::Continue
            }
            None => Outcome::Respond(Box::new(LocalResponse {
                body: Bytes::from_static(b"Bad gRPC-web request, invalid base64 data."),
                ..LocalResponse::new(StatusCode::BAD_REQUEST, "grpc_base_64_decode_failed")
            })),
        }
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let Some(response) = &mut context.response else { return Outcome::Continue };
        let kind = response.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let grpc = response.status == StatusCode::OK && kind.starts_with(b"application/grpc");
        let kind =
            if self.text_response { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers.remove(CONTENT_LENGTH);
        self.framed = grpc && !end_of_stream;
        self.foreign = !grpc && !end_of_stream;
        if self.foreign { Outcome::Buffer } else { Outcome::Continue }
    }

    fn wants_response_body(&self) -> bool {
        self.framed || self.foreign
    }

    fn on_response_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        if self.foreign {
            return self.tell(context, chunk, end_of_stream);
        }
        if end_of_stream && let Some(trailers) = &mut context.trailers {
            frame(trailers, chunk);
            trailers.clear();
        }
        if self.text_response && !chunk.is_empty() {
            *chunk = BytesMut::from(STANDARD.encode(&*chunk).as_bytes());
        }
        Outcome::Continue
    }
}

impl GrpcWeb {
    /// A browser's client sees of such an answer what its status says.
    fn tell(&self, context: &mut FilterContext<'_>, chunk: &mut BytesMut, end_of_stream: bool) -> Outcome {
        if !end_of_stream {
            return Outcome::Buffer;
        }
        chunk.truncate(MOST_FOREIGN);
        if let Some(response) = &mut context.response {
            let status = HeaderValue::from(grpc_status_of(response.status));
            response.headers.insert(GRPC_STATUS.clone(), status);
            if let Ok(message) = HeaderValue::try_from(percent_encoded(chunk)) {
                response.headers.insert(GRPC_MESSAGE.clone(), message);
            }
        }
        chunk.clear();
        Outcome::Continue
    }
}

/// Decodes the next piece of a text body behind the `rest` of the one before; none where it is no base64.
pub(crate) fn decode(rest: &mut Vec<u8>, chunk: &[u8], end_of_stream: bool) -> Option<BytesMut> {
    rest.extend_from_slice(chunk);
    let whole = if end_of_stream { rest.len() } else { rest.len() / 4 * 4 };
    let mut decoded = BytesMut::with_capacity(whole / 4 * 3);
    // Each message may be encoded on its own, so padding can stand inside.
    for group in rest[..whole].chunks(4) {
        decoded.put_slice(&STANDARD.decode(group).ok()?);
    }
    rest.drain(..whole);
    Some(decoded)
}

/// Puts trailers behind the last bytes, as a frame of their own.
fn frame(trailers: &HeaderMap, chunk: &mut BytesMut) {
    let mut text = Vec::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let Ok(length) = u32::try_from(text.len()) else { return };
    if length > 0 {
        chunk.put_u8(TRAILERS);
        chunk.put_u32(length);
        chunk.put_slice(&text);
    }
}
