// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Cross-origin rules of a route.

use crate::canonical::any;
use crate::value::{quote, regex, yes};
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use gateway_xds_api::pb::google::protobuf::Any;
use operator_ir::Cors;

/// The filter's name, also the key of a route's own settings.
pub(crate) const FILTER: &str = "envoy.filters.http.cors";

/// A wildcard of methods, for answers that may not say `*` because credentials are allowed (Fetch, 3.2.3).
const METHODS: &str = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS";

pub(crate) fn policy(cors: &Cors) -> Any {
    let any_method = cors.allow_credentials && cors.allow_methods.iter().any(|method| method == "*");
    any(&CorsPolicy {
        allow_origin_string_match: cors.allow_origins.iter().map(|origin| origin_matcher(origin)).collect(),
        allow_methods: if any_method { METHODS.to_owned() } else { cors.allow_methods.join(", ") },
        allow_headers: cors.allow_headers.join(", "),
        expose_headers: cors.expose_headers.join(", "),
        max_age: cors.max_age_s.to_string(),
        allow_credentials: yes(cors.allow_credentials),
        // A preflight from elsewhere is answered here too, without leave.
        forward_not_matching_preflights: yes(false),
        ..CorsPolicy::default()
    })
}

fn origin_matcher(origin: &str) -> StringMatcher {
    let pattern = match origin.split_once('*') {
        None => MatchPattern::Exact(origin.to_owned()),
        Some(("", "")) => MatchPattern::SafeRegex(regex(".*")),
        // One or more labels, never a scheme or a port.
        Some((before, after)) => {
            MatchPattern::SafeRegex(regex(&format!("{}[^/:]+{}", quote(before), quote(after))))
        }
    };
    StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}
