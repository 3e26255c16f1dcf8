// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens to a matched request.

use crate::canonical::any;
use crate::rewrite::{EnvoyRewrite, path_rewrite};
use crate::value::{millis, number};
use crate::{headers, names};
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, RuntimeFractionalPercent, data_source};
use gateway_xds_api::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use gateway_xds_api::pb::envoy::config::route::v3::retry_policy::{
    RetryBackOff, RetryHostPredicate, retry_host_predicate,
};
use gateway_xds_api::pb::envoy::config::route::v3::route::Action as EnvoyAction;
use gateway_xds_api::pb::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use gateway_xds_api::pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use gateway_xds_api::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, RouteAction, WeightedCluster,
};
use gateway_xds_api::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use gateway_xds_api::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use operator_ir::{Destination, Forward, Mirror, PathMatch, PathRewrite, Redirect, Retry, Timeouts};

/// Failures before the backend has seen a request: always safe to try again.
const RETRY_ON: &str = "connect-failure,refused-stream,reset-before-request";
/// The same, and statuses that the user listed.
const RETRY_ON_STATUSES: &str = "connect-failure,refused-stream,reset-before-request,retriable-status-codes";
/// Endpoints looked at for one that was not tried yet.
const OTHER_HOSTS: i64 = 5;
/// The longest wait between tries, as a multiple of the least.
const BACKOFF_SPAN: u64 = 10;

pub(super) fn forward(forward: &Forward, path: &PathMatch, host: Option<&str>) -> EnvoyAction {
    let Some(cluster) = cluster_specifier(&forward.destinations) else {
        // All weights are zero: nobody may answer (Gateway API, HTTPBackendRef.weight).
        return EnvoyAction::DirectResponse(respond(500, ""));
    };
    let rewrite = forward.rewrite.as_ref();
    let host = rewrite.and_then(|r| r.host.as_deref()).or(host);
    let (prefix_rewrite, regex_rewrite) =
        match rewrite.and_then(|r| r.path.as_ref()).and_then(|r| path_rewrite(path, r)) {
            None => (String::new(), None),
            Some(EnvoyRewrite::Prefix(prefix)) => (prefix, None),
            Some(EnvoyRewrite::Regex(regex)) => (String::new(), Some(regex)),
        };
    let retry = forward.retry.as_ref().filter(|retry| retry.attempts > 0);
    EnvoyAction::Route(RouteAction {
        cluster_specifier: Some(cluster),
        cluster_not_found_response_code: ClusterNotFoundResponseCode::InternalServerError.into(),
        prefix_rewrite,
        regex_rewrite,
        host_rewrite_specifier: host.map(|host| HostRewriteSpecifier::HostRewriteLiteral(host.to_owned())),
        timeout: Some(millis(whole_timeout(&forward.timeouts, retry.is_some()))),
        retry_policy: retry.map(|retry| retry_policy(retry, &forward.timeouts)),
        request_mirror_policies: forward.mirrors.iter().map(mirror).collect(),
        ..RouteAction::default()
    })
}

/// Milliseconds for the whole exchange; 0 is no limit, which is also what unset means: Envoy's own default of 15 s would
/// cut long answers, and silent streams are ended by the stream's idle limit.
fn whole_timeout(timeouts: &Timeouts, retries: bool) -> u64 {
    let request = timeouts.request_ms.unwrap_or(0);
    match timeouts.backend_request_ms.unwrap_or(0) {
        // Without further tries one try is the whole.
        try_ms if try_ms > 0 && !retries && (request == 0 || try_ms < request) => try_ms,
        _ => request,
    }
}

fn cluster_specifier(destinations: &[Destination]) -> Option<ClusterSpecifier> {
    let live: Vec<&Destination> = destinations.iter().filter(|d| d.weight > 0).collect();
    match live[..] {
        [] => None,
        [Destination { backend: Some(backend), request_headers, response_headers, .. }]
            if request_headers.is_empty() && response_headers.is_empty() =>
        {
            Some(ClusterSpecifier::Cluster(names::cluster(backend)))
        }
        _ => Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: live.into_iter().map(weighted).collect(),
            ..WeightedCluster::default()
        })),
    }
}

fn weighted(destination: &Destination) -> ClusterWeight {
    let host = headers::host(&destination.request_headers)
        .map(|host| cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host.to_owned()));
    ClusterWeight {
        name: destination.backend.as_ref().map_or_else(|| names::INVALID_BACKEND.to_owned(), names::cluster),
        weight: number(destination.weight),
        request_headers_to_add: headers::to_add(&destination.request_headers),
        request_headers_to_remove: headers::to_remove(&destination.request_headers),
        response_headers_to_add: headers::to_add(&destination.response_headers),
        response_headers_to_remove: headers::to_remove(&destination.response_headers),
        host_rewrite_specifier: host,
        ..ClusterWeight::default()
    }
}

fn retry_policy(retry: &Retry, timeouts: &Timeouts) -> RetryPolicy {
    let another_host = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
    };
    let statuses = !retry.status_codes.is_empty();
    RetryPolicy {
        retry_on: if statuses { RETRY_ON_STATUSES } else { RETRY_ON }.to_owned(),
        num_retries: number(retry.attempts),
        per_try_timeout: timeouts.backend_request_ms.filter(|ms| *ms > 0).map(millis),
        retry_host_predicate: vec![another_host],
        host_selection_retry_max_attempts: OTHER_HOSTS,
        retriable_status_codes: retry.status_codes.iter().map(|status| u32::from(*status)).collect(),
        // Envoy refuses a wait below 1 ms.
        retry_back_off: retry.backoff_ms.filter(|ms| *ms > 0).map(|ms| RetryBackOff {
            base_interval: Some(millis(ms)),
            max_interval: Some(millis(ms.saturating_mul(BACKOFF_SPAN))),
        }),
        ..RetryPolicy::default()
    }
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    let share =
        FractionalPercent { numerator: mirror.per_million, denominator: DenominatorType::Million.into() };
    RequestMirrorPolicy {
        cluster: names::cluster(&mirror.backend),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(share),
            ..RuntimeFractionalPercent::default()
        }),
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    }
}

pub(super) fn redirect(redirect: &Redirect, path: &PathMatch) -> RedirectAction {
    let path_rewrite =
        redirect.path.as_ref().and_then(|rewrite| match (rewrite, path_rewrite(path, rewrite)) {
            (PathRewrite::Full(path), _) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
            (PathRewrite::Prefix(_), Some(EnvoyRewrite::Prefix(prefix))) => {
                Some(PathRewriteSpecifier::PrefixRewrite(prefix))
            }
            (PathRewrite::Prefix(_), Some(EnvoyRewrite::Regex(regex))) => {
                Some(PathRewriteSpecifier::RegexRewrite(regex))
            }
            (PathRewrite::Prefix(_), None) => None,
        });
    RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.map(u32::from).unwrap_or_default(),
        response_code: match redirect.status {
            301 => RedirectResponseCode::MovedPermanently,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::Found,
        }
        .into(),
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: path_rewrite,
        ..RedirectAction::default()
    }
}

pub(super) fn respond(status: u16, body: &str) -> DirectResponseAction {
    let text = || DataSource {
        specifier: Some(data_source::Specifier::InlineString(body.to_owned())),
        ..DataSource::default()
    };
    DirectResponseAction {
        status: status.into(),
        body: (!body.is_empty()).then(text),
        ..DirectResponseAction::default()
    }
}
