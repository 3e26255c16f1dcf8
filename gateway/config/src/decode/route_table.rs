// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes route tables, virtual hosts and routes.

use crate::decode::action::{expected, forward, mirrors};
use crate::decode::filter_settings::{folded, settings};
use crate::decode::headers::mutations;
use crate::decode::rate_limit::rules;
use crate::decode::redirect::{direct_response, redirect};
use crate::decode::retry::retry_policy;
use crate::decode::route_match::route_match;
use crate::decode::{Fault, Scope, fields, uri_template};
use crate::path_index::PathIndex;
use crate::route::FilterSettings;
use crate::{Action, AttemptHeaders, Mirror, RequireTls, RetryPolicy, Route, TableSettings, VirtualHost};
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use http::HeaderName;
use std::sync::Arc;

/// The most routes that one virtual host may have.
const MAX_ROUTES: usize = 100_000;

/// A RouteConfiguration, taken apart.
#[derive(Debug)]
pub(crate) struct DecodedTable {
    pub(crate) settings: Arc<TableSettings>,
    /// In the resource itself.
    pub(crate) virtual_hosts: Vec<Arc<VirtualHost>>,
}

/// A route table.
pub(crate) fn route_table(scope: &mut Scope, table: pb::RouteConfiguration) -> Result<DecodedTable, Fault> {
    fields!(scope, table => pb::RouteConfiguration {
        use {
            virtual_hosts, vhds, response_headers_to_add, response_headers_to_remove, request_headers_to_add, request_headers_to_remove,
            most_specific_header_mutations_wins, ignore_port_in_host_matching, typed_per_filter_config, internal_only_headers,
            request_mirror_policies,
        }
        warn {
            cluster_specifier_plugins, vhost_header, ignore_path_parameters_in_path_matching,
            route_specifiers,
        }
        quiet { name, metadata, validate_clusters, max_direct_response_body_size_bytes }
    });
    let virtual_hosts =
        scope.each("virtual_hosts", virtual_hosts, |scope, host| virtual_host(scope, host).map(Arc::new))?;
    let settings = TableSettings {
        request_headers: mutations(scope, "request", request_headers_to_add, request_headers_to_remove)?,
        response_headers: mutations(scope, "response", response_headers_to_add, response_headers_to_remove)?,
        filters: settings(scope, typed_per_filter_config)?,
        mirrors: mirrors(scope, request_mirror_policies)?,
        internal_only_headers: scope
            .each("internal_only_headers", internal_only_headers, header_name)?
            .into(),
        ignore_port: ignore_port_in_host_matching,
        vhds: vhds.is_some(),
        most_specific_headers_win: most_specific_header_mutations_wins,
    };
    Ok(DecodedTable { settings: Arc::new(settings), virtual_hosts })
}

/// What routes take from their virtual host.
struct Inherited {
    filters: FilterSettings,
    retry: Option<RetryPolicy>,
    mirrors: Box<[Mirror]>,
}

/// A virtual host.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn virtual_host(scope: &mut Scope, host: pb::VirtualHost) -> Result<VirtualHost, Fault> {
    fields!(scope, host => pb::VirtualHost {
        use {
            name, domains, routes, require_tls, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
            response_headers_to_remove, typed_per_filter_config, retry_policy, request_mirror_policies, matcher, rate_limits,
            include_request_attempt_count, include_attempt_count_in_response, include_is_timeout_retry_header, retry_policy_typed_config,
        }
        warn {
            virtual_clusters, cors, hedge_policy, per_request_buffer_limit_bytes, request_body_buffer_limit, route_specifiers,
        }
        quiet { metadata }
    });
    if retry_policy_typed_config.is_some() {
        return Err(scope.field_fault("retry_policy_typed_config", "is not supported; use retry_policy"));
    }
    if matcher.is_some() {
        return Err(scope.field_fault("matcher", "is not supported; use routes"));
    }
    if routes.len() > MAX_ROUTES {
        return Err(scope.field_fault("routes", format_args!("has more than {MAX_ROUTES} entries")));
    }
    let domains = scope.each("domains", domains, |scope, domain| domain_of(scope, &domain))?;
    if domains.is_empty() {
        return Err(scope.field_fault("domains", "is empty"));
    }
    let inherited = Inherited {
        filters: settings(scope, typed_per_filter_config)?,
        retry: retry_policy
            .map(|policy| scope.at("retry_policy", |scope| self::retry_policy(scope, policy)))
            .transpose()?,
        mirrors: mirrors(scope, request_mirror_policies)?,
    };
    let require_tls = match TlsRequirementType::try_from(require_tls) {
        Ok(TlsRequirementType::None) => RequireTls::None,
        Ok(TlsRequirementType::All) => RequireTls::All,
        Ok(TlsRequirementType::ExternalOnly) => RequireTls::External,
        Err(_) => return Err(scope.field_fault("require_tls", "is unknown")),
    };
    let routes: Box<[_]> =
        scope.each("routes", routes, |scope, item| route(scope, item, &inherited).map(Arc::new))?.into();
    let matchers: Vec<_> = routes.iter().map(|route: &Arc<Route>| &route.matcher).collect();
    let index = PathIndex::build(&matchers);
    Ok(VirtualHost {
        name: name.into(),
        domains: domains.into(),
        request_headers: mutations(scope, "request", request_headers_to_add, request_headers_to_remove)?,
        response_headers: mutations(scope, "response", response_headers_to_add, response_headers_to_remove)?,
        rate_limits: rules(scope, rate_limits)?,
        require_tls,
        attempts: AttemptHeaders {
            in_requests: include_request_attempt_count,
            in_answers: include_attempt_count_in_response,
            after_timeout: include_is_timeout_retry_header,
        },
        routes,
        index,
    })
}

fn header_name(scope: &mut Scope, name: String) -> Result<HeaderName, Fault> {
    HeaderName::try_from(&name).map_err(|_| scope.fault(format_args!("{name:?} is not a header name")))
}

/// A host, `*suffix`, `prefix*` or `*`, in lower case.
fn domain_of(scope: &Scope, domain: &str) -> Result<Box<str>, Fault> {
    let rest = domain.strip_prefix('*').or_else(|| domain.strip_suffix('*')).unwrap_or(domain);
    if domain != "*" && (matches!(rest, "" | ".") || rest.contains(['*', '/']) || rest.starts_with("..")) {
        return Err(scope.fault(format_args!("{domain:?} is no host, *suffix, prefix* or *")));
    }
    Ok(domain.to_ascii_lowercase().into())
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn route(scope: &mut Scope, route: pb::Route, inherited: &Inherited) -> Result<Route, Fault> {
    fields!(scope, route => pb::Route {
        use {
            name, r#match, typed_per_filter_config, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
            response_headers_to_remove, action,
        }
        warn { tracing, per_request_buffer_limit_bytes, request_body_buffer_limit, route_specifiers }
        quiet { metadata, decorator, stat_prefix }
    });
    let matcher = scope.required("match", r#match)?;
    let template = match &matcher.path_specifier {
        Some(pb::route_match::PathSpecifier::PathMatchPolicy(policy)) => {
            Some(scope.at("match.path_match_policy", |scope| uri_template::template(scope, policy))?)
        }
        _ => None,
    };
    let matcher = scope.at("match", |scope| route_match(scope, matcher))?;
    let mut action = match scope.required("action", action)? {
        pb::route::Action::Route(action) => {
            let mut forward = scope.at("route", |scope| forward(scope, action, template.as_deref()))?;
            if forward.retry.is_none() {
                forward.retry.clone_from(&inherited.retry);
                forward.expected_timeout = expected(forward.timeout, forward.retry.as_ref());
            }
            if forward.mirrors.is_empty() {
                forward.mirrors.clone_from(&inherited.mirrors);
            }
            Action::Forward(Box::new(forward))
        }
        pb::route::Action::Redirect(action) => {
            Action::Redirect(Box::new(scope.at("redirect", |scope| redirect(scope, action))?))
        }
        pb::route::Action::DirectResponse(action) => {
            Action::Respond(scope.at("direct_response", |scope| direct_response(scope, action))?)
        }
        pb::route::Action::FilterAction(_) => {
            return Err(scope.field_fault("filter_action", "is not supported"));
        }
        pb::route::Action::NonForwardingAction(_) => {
            return Err(scope.field_fault("non_forwarding_action", "is not supported"));
        }
    };
    let filters = folded(settings(scope, typed_per_filter_config)?, &inherited.filters);
    if let Action::Forward(forward) = &mut action {
        for own in forward.clusters.clusters.iter_mut().filter_map(|cluster| cluster.filters.as_mut()) {
            *own = folded(std::mem::take(own), &filters);
        }
    }
    Ok(Route {
        name: name.into(),
        matcher,
        action,
        request_headers: mutations(scope, "request", request_headers_to_add, request_headers_to_remove)?,
        response_headers: mutations(scope, "response", response_headers_to_add, response_headers_to_remove)?,
        filters,
    })
}
