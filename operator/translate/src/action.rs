// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens to a matched request.

use crate::route::{per_million, quote};
use crate::wire::{any, boolean, millis, number, regex};
use crate::{headers, names};
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::config::route::v3 as route;
use gateway_xds_api::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use operator_ir::{
    Action, Destination, DirectResponse, Forward, Mirror, PathMatch, PathRewrite, Redirect, Retry,
};
use route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use route::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate};
use route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use route::weighted_cluster::ClusterWeight;

/// Tries after the first where the user says nothing: only those that cannot have reached the backend.
const DEFAULT_RETRIES: u32 = 2;
/// What those are.
const SAFE_RETRIES: &str = "connect-failure,refused-stream";

pub(crate) fn action(action: &Action, path: &PathMatch) -> route::route::Action {
    match action {
        Action::Forward(forward) => route::route::Action::Route(forward_action(forward, path)),
        Action::Redirect(redirect) => route::route::Action::Redirect(redirect_action(redirect, path)),
        Action::Respond(DirectResponse { status, body }) => {
            route::route::Action::DirectResponse(direct_response(u32::from(*status), body))
        }
    }
}

fn direct_response(status: u32, body: &str) -> route::DirectResponseAction {
    let body = (!body.is_empty()).then(|| DataSource {
        specifier: Some(data_source::Specifier::InlineString(body.to_owned())),
        ..Default::default()
    });
    route::DirectResponseAction { status, body, ..Default::default() }
}

fn forward_action(forward: &Forward, path: &PathMatch) -> route::RouteAction {
    let Forward { destinations, timeouts, retry, rewrite, mirrors } = forward;
    let mut made = route::RouteAction {
        cluster_specifier: Some(cluster_specifier(destinations)),
        cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError.into(),
        // Unset means no limit: Envoy's own 15 s would cut long downloads and streams.
        timeout: Some(millis(timeouts.request_ms.unwrap_or(0))),
        retry_policy: Some(retry_policy(retry.as_ref(), timeouts.backend_request_ms)),
        request_mirror_policies: mirrors.iter().map(mirror).collect(),
        ..Default::default()
    };
    if let Some(rewrite) = rewrite {
        made.host_rewrite_specifier = rewrite.host.clone().map(HostRewriteSpecifier::HostRewriteLiteral);
        match rewrite.path.as_ref().map(|to| path_rewrite(to, path)) {
            Some(PathChange::Prefix(prefix)) => made.prefix_rewrite = prefix,
            Some(PathChange::Regex(rewrite)) => made.regex_rewrite = Some(rewrite),
            None => {}
        }
    }
    made
}

fn cluster_specifier(destinations: &[Destination]) -> ClusterSpecifier {
    if let [only] = destinations
        && only.request_headers.is_empty()
        && only.response_headers.is_empty()
        && only.weight > 0
    {
        return ClusterSpecifier::Cluster(cluster_name(only));
    }
    let total: u64 = destinations.iter().map(|d| u64::from(d.weight)).sum();
    if total == 0 {
        return ClusterSpecifier::Cluster(names::INVALID_BACKEND.to_owned());
    }
    // Envoy holds the sum of weights in 32 bits.
    let shrink = total.div_ceil(u64::from(u32::MAX));
    let clusters = destinations.iter().filter(|d| d.weight > 0).map(|destination| ClusterWeight {
        name: cluster_name(destination),
        weight: number(u32::try_from(u64::from(destination.weight).div_ceil(shrink)).unwrap_or(u32::MAX)),
        request_headers_to_add: headers::to_add(&destination.request_headers),
        request_headers_to_remove: destination.request_headers.remove.clone(),
        response_headers_to_add: headers::to_add(&destination.response_headers),
        response_headers_to_remove: destination.response_headers.remove.clone(),
        ..Default::default()
    });
    ClusterSpecifier::WeightedClusters(route::WeightedCluster {
        clusters: clusters.collect(),
        ..Default::default()
    })
}

fn cluster_name(destination: &Destination) -> String {
    destination.backend.as_ref().map_or_else(|| names::INVALID_BACKEND.to_owned(), names::cluster)
}

fn retry_policy(retry: Option<&Retry>, backend_request_ms: Option<u64>) -> route::RetryPolicy {
    let (on, attempts, codes, backoff) = match retry {
        None => (SAFE_RETRIES.to_owned(), DEFAULT_RETRIES, Vec::new(), None),
        Some(Retry { attempts, status_codes, backoff_ms }) => {
            let codes: Vec<u32> = status_codes.iter().map(|code| u32::from(*code)).collect();
            let on = if codes.is_empty() {
                format!("{SAFE_RETRIES},reset-before-request")
            } else {
                format!("{SAFE_RETRIES},reset-before-request,retriable-status-codes")
            };
            (on, *attempts, codes, *backoff_ms)
        }
    };
    let previous_hosts = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
    };
    route::RetryPolicy {
        retry_on: on,
        num_retries: number(attempts),
        per_try_timeout: backend_request_ms.filter(|ms| *ms > 0).map(millis),
        retriable_status_codes: codes,
        retry_host_predicate: vec![previous_hosts],
        host_selection_retry_max_attempts: 5,
        retry_back_off: backoff.filter(|ms| *ms > 0).map(|ms| RetryBackOff {
            base_interval: Some(millis(ms)),
            max_interval: Some(millis(ms.saturating_mul(10))),
        }),
        ..Default::default()
    }
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: names::cluster(&mirror.backend),
        runtime_fraction: Some(per_million(mirror.per_million)),
        trace_sampled: boolean(false),
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    }
}

enum PathChange {
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

/// A path change in Envoy's terms. Gateway API replaces whole segments: `/foo` by `/` makes `/` of `/foo` and `/bar` of
/// `/foo/bar`, which plain prefix rewriting would not.
fn path_rewrite(rewrite: &PathRewrite, matched: &PathMatch) -> PathChange {
    match (rewrite, matched) {
        (PathRewrite::Full(path), _) => PathChange::Regex(substitution("^/.*$", path)),
        (PathRewrite::Prefix(to), PathMatch::Prefix(from)) => {
            let to = to.strip_suffix('/').unwrap_or(to);
            match (from.as_str(), to) {
                ("/", to) => PathChange::Prefix(format!("{to}/")),
                (from, "") => PathChange::Regex(substitution(&format!("^{}/*", quote(from)), "/")),
                (_, to) => PathChange::Prefix(to.to_owned()),
            }
        }
        (PathRewrite::Prefix(to), _) => PathChange::Prefix(to.clone()),
    }
}

fn substitution(pattern: &str, to: &str) -> RegexMatchAndSubstitute {
    // A backslash in the substitution begins a group reference.
    RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution: to.replace('\\', "\\\\") }
}

fn redirect_action(redirect: &Redirect, path: &PathMatch) -> route::RedirectAction {
    let Redirect { scheme, host, port, path: to, status } = redirect;
    let code = match status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    let path = to.as_ref().map(|to| match (to, path_rewrite(to, path)) {
        (PathRewrite::Full(path), _) => PathRewriteSpecifier::PathRedirect(path.clone()),
        (_, PathChange::Prefix(prefix)) => PathRewriteSpecifier::PrefixRewrite(prefix),
        (_, PathChange::Regex(rewrite)) => PathRewriteSpecifier::RegexRewrite(rewrite),
    });
    route::RedirectAction {
        host_redirect: host.clone().unwrap_or_default(),
        port_redirect: port.map_or(0, u32::from),
        response_code: code.into(),
        scheme_rewrite_specifier: scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path,
        ..Default::default()
    }
}
