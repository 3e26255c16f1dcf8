// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! gRPC-Web: browsers' calls as gRPC, answers with their trailers in the body (gRPC, "PROTOCOL-WEB").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use gateway_filter_api::{FilterContext, HttpFilter, Outcome};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The flag of a frame that carries trailers.
const TRAILERS: u8 = 0x80;
static ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

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
        headers.insert(ACCEPT_ENCODING.clone(), HeaderValue::from_static("identity,deflate,gzip"));
        if text {
            headers.remove(CONTENT_LENGTH);
        }
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
        self.rest.extend_from_slice(chunk);
        let whole = self.rest.len() / 4 * 4;
        let (groups, rest) = self.rest.split_at(if end_of_stream { self.rest.len() } else { whole });
        let mut decoded = BytesMut::with_capacity(groups.len() / 4 * 3);
        // Each message may be encoded on its own, so padding can stand inside.
        for group in groups.chunks(4) {
            match STANDARD.decode(group) {
                Ok(bytes) => decoded.put_slice(&bytes),
                Err(_) => {
                    return Outcome::Respond(Box::new(gateway_filter_api::LocalResponse::new(
                        http::StatusCode::BAD_REQUEST,
                        "grpc_base_64_decode_failed",
                    )));
                }
            }
        }
        self.rest = rest.to_vec();
        *chunk = decoded;
        Outcome::Continue
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let Some(response) = &mut context.response else { return Outcome::Continue };
        let grpc = response
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if !grpc {
            // An answer of something else than a gRPC server goes on as it is.
            return Outcome::Continue;
        }
        let kind =
            if self.text_response { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if !end_of_stream {
            self.framed = true;
            response.headers.remove(CONTENT_LENGTH);
        }
        Outcome::Continue
    }

    fn wants_response_body(&self) -> bool {
        self.framed
    }

    fn on_response_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
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
