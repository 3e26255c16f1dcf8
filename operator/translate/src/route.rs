// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Virtual hosts and route configurations.

use crate::wire::{ads, any, boolean, origin_metadata};
use crate::{action, headers, matching, names};
use gateway_xds_api::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use gateway_xds_api::pb::envoy::config::route::v3 as route;
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use gateway_xds_api::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use operator_ir::{Cors, RouteTableId, Rule, VirtualHost};
use std::collections::HashMap;

/// The name of the CORS filter, under which routes carry their policies.
pub(crate) const CORS_FILTER: &str = "envoy.filters.http.cors";

/// A route configuration whose virtual hosts travel one by one.
pub(crate) fn by_virtual_host(id: &RouteTableId) -> route::RouteConfiguration {
    let vhds = Some(route::Vhds { config_source: Some(ads()) });
    route::RouteConfiguration { vhds, ..empty(id) }
}

/// A route configuration with its virtual hosts inside.
pub(crate) fn inline<'a>(
    id: &RouteTableId,
    hosts: impl Iterator<Item = &'a VirtualHost>,
) -> route::RouteConfiguration {
    route::RouteConfiguration { virtual_hosts: hosts.map(virtual_host).collect(), ..empty(id) }
}

fn empty(id: &RouteTableId) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: names::route_configuration(id),
        ignore_port_in_host_matching: true,
        // Clusters may be absent on purpose, see the crate's invariants.
        validate_clusters: boolean(false),
        ..Default::default()
    }
}

pub(crate) fn virtual_host(host: &VirtualHost) -> route::VirtualHost {
    let VirtualHost { id, rules } = host;
    route::VirtualHost {
        name: names::virtual_host(id),
        domains: vec![id.host.to_string()],
        routes: rules.iter().map(rule).collect(),
        ..Default::default()
    }
}

fn rule(rule: &Rule) -> route::Route {
    let Rule { name, origin, matches, action, filters } = rule;
    let cors = filters.cors.as_ref().map(|cors| (CORS_FILTER.to_owned(), any(&cors_policy(cors))));
    route::Route {
        name: name.clone(),
        r#match: Some(matching::route_match(matches)),
        metadata: Some(origin_metadata(origin)),
        action: Some(action::action(action, &matches.path)),
        request_headers_to_add: headers::to_add(&filters.request_headers),
        request_headers_to_remove: filters.request_headers.remove.clone(),
        response_headers_to_add: headers::to_add(&filters.response_headers),
        response_headers_to_remove: filters.response_headers.remove.clone(),
        typed_per_filter_config: cors.into_iter().collect::<HashMap<_, _>>(),
        ..Default::default()
    }
}

fn cors_policy(cors: &Cors) -> CorsPolicy {
    CorsPolicy {
        allow_origin_string_match: cors.allow_origins.iter().map(|origin| origin_matcher(origin)).collect(),
        allow_methods: cors.allow_methods.join(", "),
        allow_headers: cors.allow_headers.join(", "),
        expose_headers: cors.expose_headers.join(", "),
        max_age: cors.max_age_s.to_string(),
        allow_credentials: boolean(cors.allow_credentials),
        filter_enabled: Some(per_million(1_000_000)),
        // An origin that is not allowed gets no answer of ours: the backend's stays without the headers.
        forward_not_matching_preflights: boolean(false),
        ..Default::default()
    }
}

/// An origin, `*`, or one with a wildcard in place of leading labels.
fn origin_matcher(origin: &str) -> StringMatcher {
    let pattern = if origin.contains('*') {
        let quoted: Vec<_> = origin.split('*').map(quote).collect();
        MatchPattern::SafeRegex(crate::wire::regex(&quoted.join(".*")))
    } else {
        MatchPattern::Exact(origin.to_owned())
    };
    StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

/// Escapes what RE2 would read as an operator.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c != '_' && c.is_ascii() {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

pub(crate) fn per_million(numerator: u32) -> RuntimeFractionalPercent {
    let denominator = DenominatorType::Million.into();
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent { numerator, denominator }),
        ..Default::default()
    }
}
