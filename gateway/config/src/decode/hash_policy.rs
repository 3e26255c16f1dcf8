// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes what requests are hashed by.

use crate::decode::route_match::header_source;
use crate::decode::strings::replacement;
use crate::decode::{Fault, Scope};
use crate::{GeneratedCookie, HashPolicy, HashSource};
use gateway_xds_api::pb::envoy::config::route::v3::route_action::{
    HashPolicy as Message, hash_policy::Cookie, hash_policy::PolicySpecifier,
};
use http::HeaderValue;
use std::fmt::Write;

/// All hash policies of a route.
pub(crate) fn hash_policies(scope: &mut Scope, policies: Vec<Message>) -> Result<Box<[HashPolicy]>, Fault> {
    let decoded = scope.each("hash_policy", policies, policy)?;
    Ok(decoded.into_iter().flatten().collect())
}

fn policy(scope: &mut Scope, message: Message) -> Result<Option<HashPolicy>, Fault> {
    let Message { terminal, policy_specifier } = message;
    let source = match scope.required("policy_specifier", policy_specifier)? {
        PolicySpecifier::Header(header) => {
            let name = header_source(scope, "header.header_name", &header.header_name)?;
            let rewrite = header
                .regex_rewrite
                .map(|rewrite| scope.at("header.regex_rewrite", |scope| replacement(scope, rewrite)))
                .transpose()?;
            HashSource::Header { name, rewrite }
        }
        PolicySpecifier::Cookie(message) => scope.at("cookie", |scope| cookie(scope, message))?,
        PolicySpecifier::ConnectionProperties(properties) if properties.source_ip => HashSource::SourceIp,
        PolicySpecifier::ConnectionProperties(_) => return Ok(None),
        PolicySpecifier::QueryParameter(parameter) if !parameter.name.is_empty() => {
            HashSource::QueryParameter(parameter.name.into())
        }
        PolicySpecifier::QueryParameter(_) => {
            return Err(scope.field_fault("query_parameter.name", "is empty"));
        }
        PolicySpecifier::FilterState(_) => {
            scope.warn("filter_state", "gives no hash: this gateway has no filter state");
            return Ok(None);
        }
    };
    Ok(Some(HashPolicy { source, terminal }))
}

fn cookie(scope: &mut Scope, message: Cookie) -> Result<HashSource, Fault> {
    let Cookie { name, ttl, path, attributes } = message;
    if name.is_empty() {
        return Err(scope.field_fault("name", "is empty"));
    }
    let Some(max_age) = scope.duration("ttl", ttl)? else {
        return Ok(HashSource::Cookie { name: name.into(), generated: None });
    };
    let mut text = String::new();
    // Writing into a String cannot fail.
    if max_age.as_secs() > 0 {
        let _ = write!(text, "; Max-Age={}", max_age.as_secs());
    }
    if !path.is_empty() {
        let _ = write!(text, "; Path={path}");
    }
    for attribute in attributes {
        let _ = match attribute.value.as_str() {
            "" => write!(text, "; {}", attribute.name),
            value => write!(text, "; {}={value}", attribute.name),
        };
    }
    text.push_str("; HttpOnly");
    if HeaderValue::from_str(&format!("{name}{text}")).is_err() {
        return Err(scope.fault("name, path and attributes must be the text of a header"));
    }
    let generated = GeneratedCookie { max_age, attributes: text.into() };
    Ok(HashSource::Cookie { name: name.into(), generated: Some(generated) })
}
