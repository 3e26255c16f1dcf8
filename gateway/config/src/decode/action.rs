// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes forwarding.

use crate::decode::cluster_policy::routing_priority;
use crate::decode::endpoints::lb_metadata;
use crate::decode::filter_settings::settings;
use crate::decode::hash_policy::hash_policies;
use crate::decode::headers::mutations;
use crate::decode::internal_redirect::internal_redirects;
use crate::decode::rate_limit::rules;
use crate::decode::retry::retry_policy;
use crate::decode::strings::{fraction, replacement};
use crate::decode::{Fault, Scope, fields, number, truth, uri_template};
use crate::{
    Forward, HeaderMutations, HostRewrite, LbMetadata, Mirror, PathRewrite, RetryPolicy, StreamDuration,
    UpgradeRule, WeightedCluster, WeightedClusters, expected_timeout,
};
use gateway_xds_api::pb::envoy::config::core::v3::TypedExtensionConfig;
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::pb::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier,
};
use gateway_xds_api::pb::envoy::config::route::v3::weighted_cluster::cluster_weight;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;
use std::time::Duration;

/// Envoy's default for a route's timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Forwarding.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn forward(
    scope: &mut Scope,
    action: pb::RouteAction,
    template: Option<&str>,
) -> Result<Forward, Fault> {
    fields!(scope, action => pb::RouteAction {
        use {
            cluster_not_found_response_code, prefix_rewrite, regex_rewrite, append_x_forwarded_host, timeout, idle_timeout, retry_policy,
            request_mirror_policies, upgrade_configs, cluster_specifier, host_rewrite_specifier, hash_policy, metadata_match,
            rate_limits, include_vh_rate_limits, max_stream_duration, retry_policy_typed_config, path_rewrite, path_rewrite_policy,
            internal_redirect_policy, priority,
        }
        warn {
            flush_timeout, early_data_policy,
            cors, max_grpc_timeout, grpc_timeout_offset,
            internal_redirect_action, max_internal_redirects, hedge_policy,
        }
        quiet { }
    });
    let cluster_not_found = match ClusterNotFoundResponseCode::try_from(cluster_not_found_response_code) {
        Ok(ClusterNotFoundResponseCode::ServiceUnavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Ok(ClusterNotFoundResponseCode::NotFound) => StatusCode::NOT_FOUND,
        Ok(ClusterNotFoundResponseCode::InternalServerError) => StatusCode::INTERNAL_SERVER_ERROR,
        Err(_) => return Err(scope.field_fault("cluster_not_found_response_code", "is unknown")),
    };
    let elsewhere = [
        ("path_rewrite", path_rewrite.is_empty()),
        ("retry_policy_typed_config", retry_policy_typed_config.is_none()),
    ];
    if let Some((field, _)) = elsewhere.into_iter().find(|(_, unset)| !unset) {
        return Err(scope.field_fault(field, "is not supported"));
    }
    let clusters = clusters(scope, cluster_specifier, &lb_metadata(metadata_match))?;
    let retry = retry_policy
        .map(|policy| scope.at("retry_policy", |scope| self::retry_policy(scope, policy)))
        .transpose()?;
    let duration = max_stream_duration
        .map(|limits| scope.at("max_stream_duration", |scope| stream_duration(scope, limits)))
        .transpose()?;
    // As in Envoy: where max_stream_duration is there, it stands instead of the timeout.
    let timeout = match duration {
        Some(_) => None,
        None => scope.limit("timeout", timeout, Some(DEFAULT_TIMEOUT))?,
    };
    Ok(Forward {
        clusters,
        cluster_not_found,
        expected_timeout: expected(timeout, retry.as_ref()),
        timeout,
        duration: duration.unwrap_or_default(),
        idle_timeout: scope.duration("idle_timeout", idle_timeout)?,
        priority: routing_priority(scope, priority)?,
        retry,
        path_rewrite: match path_rewrite_policy {
            Some(policy) => Some(template_rewrite(scope, &policy, template)?),
            None => path_rewrite_of(scope, prefix_rewrite, regex_rewrite)?,
        },
        host_rewrite: host_rewrite(scope, host_rewrite_specifier)?,
        append_forwarded_host: append_x_forwarded_host,
        internal_redirects: internal_redirect_policy
            .map(|policy| scope.at("internal_redirect_policy", |scope| internal_redirects(scope, policy)))
            .transpose()?,
        mirrors: mirrors(scope, request_mirror_policies)?,
        rate_limits: rules(scope, rate_limits)?,
        include_host_rate_limits: truth(include_vh_rate_limits, false),
        upgrades: scope.each("upgrade_configs", upgrade_configs, upgrade)?.into(),
        hash_policies: hash_policies(scope, hash_policy)?,
    })
}

fn stream_duration(
    scope: &Scope,
    limits: pb::route_action::MaxStreamDuration,
) -> Result<StreamDuration, Fault> {
    let pb::route_action::MaxStreamDuration {
        max_stream_duration,
        grpc_timeout_header_max,
        grpc_timeout_header_offset,
    } = limits;
    Ok(StreamDuration {
        max: scope.duration("max_stream_duration", max_stream_duration)?,
        grpc_max: scope.duration("grpc_timeout_header_max", grpc_timeout_header_max)?,
        grpc_offset: scope
            .duration("grpc_timeout_header_offset", grpc_timeout_header_offset)?
            .unwrap_or_default(),
        tell: true,
    })
}

/// What the upstream is told about the time that it has.
pub(crate) fn expected(timeout: Option<Duration>, retry: Option<&RetryPolicy>) -> Option<HeaderValue> {
    let per_try = retry.and_then(|retry| retry.per_try_timeout);
    expected_timeout(timeout, per_try)
        .map(|time| HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

fn upgrade(scope: &mut Scope, config: pb::route_action::UpgradeConfig) -> Result<UpgradeRule, Fault> {
    let pb::route_action::UpgradeConfig { upgrade_type, enabled, connect_config } = config;
    let terminates = connect_config.is_some();
    if let Some(pb::route_action::upgrade_config::ConnectConfig { proxy_protocol_config, allow_post }) =
        connect_config
    {
        if !upgrade_type.eq_ignore_ascii_case("connect") {
            return Err(scope.field_fault("connect_config", "belongs to upgrade_type CONNECT alone"));
        }
        let unknown =
            [("proxy_protocol_config", proxy_protocol_config.is_some()), ("allow_post", allow_post)];
        if let Some((field, _)) = unknown.into_iter().find(|(_, set)| *set) {
            return Err(scope.field_fault("connect_config", format_args!("{field} is not supported")));
        }
    }
    let protocol = upgrade_type.to_ascii_lowercase().into();
    Ok(UpgradeRule { protocol, enabled: truth(enabled, true), terminates })
}

fn clusters(
    scope: &mut Scope,
    specifier: Option<ClusterSpecifier>,
    metadata: &LbMetadata,
) -> Result<WeightedClusters, Fault> {
    let one = |name: Box<str>, header| WeightedCluster {
        name,
        header,
        weight: 1,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        host_rewrite: None,
        filters: None,
        metadata: metadata.clone(),
    };
    let mut choice_header = None;
    let clusters = match scope.required("cluster_specifier", specifier)? {
        ClusterSpecifier::Cluster(name) => vec![one(name.into(), None)],
        ClusterSpecifier::WeightedClusters(weighted) => scope.at("weighted_clusters", |scope| {
            choice_header = self::choice_header(scope, weighted.random_value_specifier.as_ref())?;
            weighted_clusters(scope, weighted, metadata)
        })?,
        ClusterSpecifier::ClusterHeader(name) => {
            vec![one(Box::default(), Some(naming_header(scope, &name)?))]
        }
        ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_) => {
            return Err(scope.field_fault("cluster_specifier_plugin", "is not supported; name the cluster"));
        }
    };
    let total = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    if total == 0 {
        return Err(scope.field_fault("weighted_clusters", "the weights must add up to one or more"));
    }
    Ok(WeightedClusters { clusters: clusters.into(), total, choice_header })
}

/// A header that names a cluster.
fn naming_header(scope: &Scope, name: &str) -> Result<HeaderName, Fault> {
    HeaderName::try_from(name).map_err(|_| scope.field_fault("cluster_header", "is not a header name"))
}

fn choice_header(
    scope: &Scope,
    specifier: Option<&pb::weighted_cluster::RandomValueSpecifier>,
) -> Result<Option<HeaderName>, Fault> {
    use pb::weighted_cluster::RandomValueSpecifier;
    match specifier {
        None => Ok(None),
        Some(RandomValueSpecifier::HeaderName(name)) => HeaderName::try_from(name.as_str())
            .map(Some)
            .map_err(|_| scope.field_fault("header_name", "is not a header name")),
        Some(RandomValueSpecifier::UseHashPolicy(on)) if !on.value => Ok(None),
        Some(RandomValueSpecifier::UseHashPolicy(_)) => {
            Err(scope.field_fault("use_hash_policy", "is not supported; use header_name"))
        }
    }
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn weighted_clusters(
    scope: &mut Scope,
    weighted: pb::WeightedCluster,
    metadata: &LbMetadata,
) -> Result<Vec<WeightedCluster>, Fault> {
    fields!(scope, weighted => pb::WeightedCluster {
        use { clusters }
        warn { }
        quiet { total_weight, runtime_key_prefix, random_value_specifier }
    });
    scope.each("clusters", clusters, |scope, cluster| weighted_cluster(scope, cluster, metadata))
}

fn weighted_cluster(
    scope: &mut Scope,
    cluster: pb::weighted_cluster::ClusterWeight,
    metadata: &LbMetadata,
) -> Result<WeightedCluster, Fault> {
    fields!(scope, cluster => pb::weighted_cluster::ClusterWeight {
        use {
            name, cluster_header, weight, request_headers_to_add, request_headers_to_remove, response_headers_to_add, response_headers_to_remove,
            host_rewrite_specifier, metadata_match, typed_per_filter_config,
        }
        warn { }
        quiet { }
    });
    if name.is_empty() == cluster_header.is_empty() {
        return Err(scope.field_fault("name", "or cluster_header must be there, one of them"));
    }
    let header = match cluster_header.as_str() {
        "" => None,
        name => Some(naming_header(scope, name)?),
    };
    let filters = settings(scope, typed_per_filter_config)?;
    let host_rewrite = match host_rewrite_specifier {
        None => None,
        Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            Some(authority(scope, "host_rewrite_literal", &host)?)
        }
    };
    Ok(WeightedCluster {
        name: name.into(),
        header,
        filters: (!filters.by_name.is_empty()).then_some(filters),
        weight: number(weight).unwrap_or(0),
        request_headers: mutations(scope, "request", request_headers_to_add, request_headers_to_remove)?,
        response_headers: mutations(scope, "response", response_headers_to_add, response_headers_to_remove)?,
        host_rewrite,
        metadata: metadata.merged(&lb_metadata(metadata_match)),
    })
}

fn authority(scope: &Scope, field: &str, host: &str) -> Result<HeaderValue, Fault> {
    let valid = host.parse::<http::uri::Authority>().is_ok();
    HeaderValue::from_str(host)
        .ok()
        .filter(|_| valid)
        .ok_or_else(|| scope.field_fault(field, "is not a host with an optional port"))
}

fn path_rewrite_of(
    scope: &mut Scope,
    prefix: String,
    regex: Option<RegexMatchAndSubstitute>,
) -> Result<Option<PathRewrite>, Fault> {
    match (prefix.is_empty(), regex) {
        (false, Some(_)) => Err(scope.field_fault("regex_rewrite", "cannot stand beside prefix_rewrite")),
        (false, None) => Ok(Some(PathRewrite::Prefix(prefix.into()))),
        (true, None) => Ok(None),
        (true, Some(rewrite)) => {
            let (pattern, substitution) = scope.at("regex_rewrite", |scope| replacement(scope, rewrite))?;
            Ok(Some(PathRewrite::Regex { pattern, substitution }))
        }
    }
}

/// Rewrites by the variables of the route's own template.
fn template_rewrite(
    scope: &mut Scope,
    policy: &TypedExtensionConfig,
    template: Option<&str>,
) -> Result<PathRewrite, Fault> {
    scope.at("path_rewrite_policy", |scope| {
        let expression =
            template.ok_or_else(|| scope.fault("needs a path_match_policy with a template as well"))?;
        let substitution = uri_template::rewrite(scope, policy, expression)?;
        let pattern = Regex::new(&format!(r"\A(?:{expression})\z")).map_err(|error| scope.fault(error))?;
        Ok(PathRewrite::Regex { pattern, substitution: substitution.into() })
    })
}

fn host_rewrite(
    scope: &mut Scope,
    specifier: Option<HostRewriteSpecifier>,
) -> Result<Option<HostRewrite>, Fault> {
    Ok(match specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            Some(HostRewrite::Literal(authority(scope, "host_rewrite_literal", &host)?))
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) => auto.value.then_some(HostRewrite::FromEndpoint),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| scope.field_fault("host_rewrite_header", "is not a header name"))?;
            Some(HostRewrite::Header(name))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => {
            let (pattern, substitution) =
                scope.at("host_rewrite_path_regex", |scope| replacement(scope, rewrite))?;
            Some(HostRewrite::FromPath { pattern, substitution })
        }
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            return Err(scope.field_fault("host_rewrite", "is not supported; use host_rewrite_literal"));
        }
    })
}

/// Copies of requests.
pub(crate) fn mirrors(
    scope: &mut Scope,
    policies: Vec<pb::route_action::RequestMirrorPolicy>,
) -> Result<Box<[Mirror]>, Fault> {
    let mirrors = scope.each("request_mirror_policies", policies, |scope, policy| {
        fields!(scope, policy => pb::route_action::RequestMirrorPolicy {
            use { cluster, cluster_header, runtime_fraction, disable_shadow_host_suffix_append }
            warn { trace_sampled, request_headers_mutations, host_rewrite_literal }
            quiet { }
        });
        if cluster.is_empty() || !cluster_header.is_empty() {
            return Err(scope.field_fault("cluster", "must be named; cluster_header is not supported"));
        }
        let fraction =
            runtime_fraction.map(|f| scope.at("runtime_fraction", |scope| fraction(scope, f))).transpose()?;
        Ok(Mirror { cluster: cluster.into(), fraction, shadow_suffix: !disable_shadow_host_suffix_append })
    })?;
    Ok(mirrors.into())
}
