// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Compresses answers by what the client accepts, as Envoy's compressor does.

mod accept;
mod encoder;

pub(crate) use accept::Offer;

use super::Counter;
use accept::prefers;
use bytes::BytesMut;
use encoder::Encoder;
use gateway_config::Compressor;
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, ResponseHead};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) compressed: Counter,
    pub(crate) not_compressed: Counter,
    pub(crate) uncompressed_bytes: Counter,
    pub(crate) compressed_bytes: Counter,
}

/// One request and its answer.
pub(crate) struct Compress {
    config: Arc<Compressor>,
    counters: Counters,
    /// The client likes this filter's way best of those that the listener has.
    wanted: bool,
    offers: Arc<[Offer]>,
    remove_accept_encoding: bool,
    encoder: Option<Encoder>,
}

impl Compress {
    /// Nothing is known yet; `offers` are the ways of all compressors of the listener.
    pub(crate) fn new(
        config: &Arc<Compressor>,
        offers: &Arc<[Offer]>,
        counters: &Counters,
        remove_accept_encoding: Option<bool>,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            counters: counters.clone(),
            wanted: false,
            offers: Arc::clone(offers),
            remove_accept_encoding: remove_accept_encoding.unwrap_or(config.remove_accept_encoding),
            encoder: None,
        }
    }

    /// Whether the answer could be compressed for a client that accepts it.
    fn is_compressible(&self, response: &ResponseHead) -> bool {
        let headers = &response.headers;
        let status = response.status.as_u16();
        self.config.enabled
            && length(headers).is_none_or(|length| length >= self.config.min_content_length)
            && !headers.contains_key(CONTENT_ENCODING)
            && !has_token(headers, "no-transform")
            && self.is_content_type_allowed(headers)
            && !(self.config.disable_on_etag && headers.contains_key(ETAG))
            && response.status != StatusCode::PARTIAL_CONTENT
            && !self.config.uncompressible_statuses.contains(&status)
    }

    fn is_content_type_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(CONTENT_TYPE) else { return true };
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.config.content_types.iter().any(|allowed| allowed.is_match(kind))
    }

    fn weaken(&self, headers: &mut HeaderMap) {
        let Some(tag) = headers.get(ETAG) else { return };
        if tag.as_bytes().starts_with(b"W/") {
            return;
        }
        let weak = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok();
        match weak.filter(|_| self.config.weaken_etag) {
            Some(weak) => headers.insert(ETAG, weak),
            // A strong one promises the same bytes.
            None => headers.remove(ETAG),
        };
    }
}

impl HttpFilter for Compress {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let accepted = context.request.headers.get_all(ACCEPT_ENCODING);
        self.wanted =
            prefers(accepted.iter().map(HeaderValue::as_bytes), &self.offers, self.config.encoding.name());
        if self.remove_accept_encoding {
            context.request.headers.remove(ACCEPT_ENCODING);
        }
        Outcome::Continue
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let Some(response) = &mut context.response else { return Outcome::Continue };
        let compressible = self.is_compressible(response);
        if compressible && self.wanted && !end_of_stream {
            match Encoder::new(self.config.encoding) {
                Ok(encoder) => {
                    self.encoder = Some(encoder);
                    self.weaken(&mut response.headers);
                    response.headers.remove(CONTENT_LENGTH);
                    let name = HeaderValue::from_static(self.config.encoding.name());
                    response.headers.insert(CONTENT_ENCODING, name);
                    self.counters.compressed.increment();
                }
                Err(error) => tracing::warn!(%error, "an answer can not be compressed"),
            }
        } else {
            self.counters.not_compressed.increment();
        }
        if compressible {
            vary(&mut response.headers);
        }
        Outcome::Continue
    }

    fn wants_response_body(&self) -> bool {
        self.encoder.is_some()
    }

    fn on_response_body(
        &mut self,
        _context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        let Some(encoder) = &mut self.encoder else { return Outcome::Continue };
        self.counters.uncompressed_bytes.add(chunk.len() as u64);
        match encoder.encode(chunk, end_of_stream) {
            Ok(encoded) => {
                self.counters.compressed_bytes.add(encoded.len() as u64);
                *chunk = encoded;
                Outcome::Continue
            }
            Err(error) => {
                tracing::warn!(%error, "an answer can not be compressed");
                Outcome::Respond(Box::new(LocalResponse::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "compressor_failed",
                )))
            }
        }
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Tells caches that the answer depends on what the client accepts.
fn vary(headers: &mut HeaderMap) {
    let names = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let told = names
        .flat_map(|value| value.split(','))
        .any(|name| matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("accept-encoding"));
    if told {
        return;
    }
    let joined = headers.get(VARY).map(|value| [value.as_bytes(), b", Accept-Encoding"].concat());
    let value = joined.and_then(|joined| HeaderValue::from_bytes(&joined).ok());
    headers.insert(VARY, value.unwrap_or_else(|| HeaderValue::from_static("Accept-Encoding")));
}
