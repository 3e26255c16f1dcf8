// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a good token changes about its request.

use super::NAMESPACE;
use super::check::Accepted;
use super::extract::At;
use crate::jwt::JwtError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_config::{ClaimHeader, JwtAuthn, JwtProvider};
use gateway_filter_api::{Metadata, RequestHead};
use http::HeaderValue;
use serde_json::{Map, Value, json};

/// Removes headers that only checked claims may fill.
pub(super) fn sanitize(config: &JwtAuthn, head: &mut RequestHead) {
    for provider in &config.providers {
        let claims = provider.claim_headers.iter().map(|claim| &claim.header);
        for name in provider.payload_header.iter().chain(claims) {
            head.headers.remove(name);
        }
    }
}

/// Leaves a failure for later filters.
pub(super) fn failed(config: &JwtAuthn, provider: usize, error: JwtError, metadata: &mut Metadata) {
    let name = config.providers.get(provider).and_then(|provider| provider.failure_metadata.as_deref());
    if let Some(name) = name {
        metadata.set(NAMESPACE, name, json!({"code": error.code(), "message": error.to_string()}));
    }
}

/// Passes a token's claims on; true where the route is to be chosen anew.
pub(super) fn accepted(
    config: &JwtAuthn,
    accepted: &Accepted,
    head: &mut RequestHead,
    metadata: &mut Metadata,
) -> bool {
    let Some(provider) = config.providers.get(accepted.provider) else { return false };
    let token = &accepted.token;
    if let Some(name) = &provider.payload_header {
        let padding = match token.payload_text.len() % 4 {
            rest if rest > 0 && provider.pad_payload_header => 4 - rest,
            _ => 0,
        };
        let text = format!("{}{}", token.payload_text, &"==="[..padding]);
        if let Ok(value) = HeaderValue::try_from(text) {
            head.headers.insert(name, value);
        }
    }
    let mut told = false;
    for ClaimHeader { header: name, path } in &provider.claim_headers {
        if let Some(value) = claim(&token.payload, path).and_then(|value| HeaderValue::try_from(value).ok()) {
            head.headers.insert(name, value);
            told = true;
        }
    }
    if let Some(name) = &provider.payload_metadata {
        metadata.set(NAMESPACE, &**name, normalized(provider, &token.payload));
        told = true;
    }
    if let Some(name) = &provider.header_metadata {
        metadata.set(NAMESPACE, &**name, Value::Object(token.header.clone()));
    }
    if !provider.forward {
        remove(&accepted.at, head);
    }
    told && provider.clear_route_cache
}

fn normalized(provider: &JwtProvider, payload: &Map<String, Value>) -> Value {
    let mut payload = payload.clone();
    for claim in &provider.space_delimited_claims {
        if let Some(value) = payload.get_mut(&**claim)
            && let Some(text) = value.as_str()
        {
            *value = text.split(' ').filter(|word| !word.is_empty()).collect();
        }
    }
    Value::Object(payload)
}

/// A claim as text: lists and objects as JSON in base64.
fn claim(payload: &Map<String, Value>, path: &[Box<str>]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = rest.iter().try_fold(payload.get(&**first)?, |value, key| value.get(&**key))?;
    Some(match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => STANDARD.encode(value.to_string()),
    })
}

fn remove(at: &At, head: &mut RequestHead) {
    match at {
        At::Header(name) => drop(head.headers.remove(name)),
        At::Cookie => {}
        At::Param(name) => {
            let pairs = head.path.query().into_iter().flat_map(|query| query.split('&'));
            let kept = pairs.filter(|pair| pair.split_once('=').map_or(*pair, |(own, _)| own) != &**name);
            let query = kept.collect::<Vec<_>>().join("&");
            let path = match query.is_empty() {
                true => head.path.path().to_owned(),
                false => format!("{}?{query}", head.path.path()),
            };
            // The path was valid and only lost a parameter.
            if let Ok(path) = path.parse() {
                head.path = path;
            }
        }
    }
}
