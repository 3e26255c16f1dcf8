// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes keys of clients. Messages never repeat a key.

use crate::decode::{Fault, Scope};
use crate::{ApiKeyAuth, ApiKeySource};
use gateway_xds_api::pb::envoy::extensions::filters::http::api_key_auth::v3 as pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::HeaderName;
use std::collections::HashMap;

/// The listener's settings.
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<ApiKeyAuth, Fault> {
    let pb::ApiKeyAuth { credentials, key_sources, forwarding } =
        unpack(any).map_err(|error| scope.fault(error))?;
    settings(scope, credentials, key_sources, forwarding)
}

/// A route's settings.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<ApiKeyAuth, Fault> {
    let pb::ApiKeyAuthPerRoute { credentials, key_sources, allowed_clients, forwarding } =
        unpack(any).map_err(|error| scope.fault(error))?;
    let mut settings = settings(scope, credentials, key_sources, forwarding)?;
    if !allowed_clients.is_empty() {
        settings.allowed_clients = Some(allowed_clients.into_iter().map(Into::into).collect());
    }
    Ok(settings)
}

fn settings(
    scope: &mut Scope,
    credentials: Vec<pb::Credential>,
    sources: Vec<pb::KeySource>,
    forwarding: Option<pb::Forwarding>,
) -> Result<ApiKeyAuth, Fault> {
    let mut by_key: HashMap<Box<str>, Box<str>> = HashMap::new();
    for (at, pb::Credential { key, client }) in credentials.into_iter().enumerate() {
        if key.is_empty() || client.is_empty() {
            return Err(scope.field_fault(&format!("credentials[{at}]"), "needs a key and a client"));
        }
        if by_key.insert(key.into(), client.into()).is_some() {
            return Err(scope.field_fault(&format!("credentials[{at}].key"), "is there twice"));
        }
    }
    let pb::Forwarding { header, hide_credentials } = forwarding.unwrap_or_default();
    Ok(ApiKeyAuth {
        credentials: by_key,
        sources: scope.each("key_sources", sources, source)?.into(),
        forward_client: match header.is_empty() {
            true => None,
            false => Some(name(scope, "forwarding.header", &header)?),
        },
        hide_credentials,
        allowed_clients: None,
    })
}

fn source(scope: &mut Scope, source: pb::KeySource) -> Result<ApiKeySource, Fault> {
    let pb::KeySource { header, query, cookie } = source;
    match (header.is_empty(), query.is_empty(), cookie.is_empty()) {
        (false, _, _) => Ok(ApiKeySource::Header(name(scope, "header", &header)?)),
        (true, false, _) => Ok(ApiKeySource::Query(query.into())),
        (true, true, false) => Ok(ApiKeySource::Cookie(cookie.into())),
        (true, true, true) => Err(scope.fault("needs a header, a query parameter or a cookie")),
    }
}

fn name(scope: &Scope, field: &str, name: &str) -> Result<HeaderName, Fault> {
    HeaderName::try_from(name)
        .map_err(|_| scope.field_fault(field, format_args!("{name:?} is not a header name")))
}
