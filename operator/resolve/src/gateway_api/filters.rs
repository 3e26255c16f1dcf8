// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters of an HTTPRoute rule.

use super::modifiers::header_mutation;
use super::{GROUP, Referrer};
use crate::backends::{BackendReference, ReferenceProblem, resolve_backend};
use crate::status::Reason;
use crate::view::View;
use crds::gateway_api::{
    HttpRouteRulesFilters, HttpRouteRulesFiltersCors, HttpRouteRulesFiltersRequestMirror,
    HttpRouteRulesFiltersRequestRedirect, HttpRouteRulesFiltersRequestRedirectPathType,
    HttpRouteRulesFiltersRequestRedirectScheme, HttpRouteRulesFiltersType, HttpRouteRulesFiltersUrlRewrite,
    HttpRouteRulesFiltersUrlRewritePathType,
};
use operator_ir::{Cors, Mirror, PathMatch, PathRewrite, Redirect, RequestMatch, Rewrite, RuleFilters};

/// All requests, in Mirror's unit.
const ALL: u32 = 1_000_000;

/// What the filters of a rule ask for.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) changes: RuleFilters,
    pub(super) rewrite: Option<Rewrite>,
    /// Its port is the one that is written; which one is shown depends on the listener.
    pub(super) redirect: Option<Redirect>,
    pub(super) mirrors: Vec<Mirror>,
}

/// Reads the filters of a rule of a route in `namespace`. Mirrors to nowhere are left out and added to `unresolved`; any
/// other trouble is an error, as a filter is never skipped (Gateway API, `HTTPRouteFilter`).
pub(super) fn translate(
    filters: &[HttpRouteRulesFilters],
    matches: &[RequestMatch],
    namespace: &str,
    view: &mut View<'_>,
    unresolved: &mut Vec<ReferenceProblem>,
) -> Result<Filters, (Reason, String)> {
    let prefixes = matches.iter().all(|matches| matches!(matches.path, PathMatch::Prefix(_)));
    let mut result = Filters::default();
    for filter in filters {
        let missing =
            || (Reason::UnsupportedValue, "a filter lacks the field that its type names".to_owned());
        match &filter.r#type {
            HttpRouteRulesFiltersType::RequestHeaderModifier => {
                let modifier = filter.request_header_modifier.as_ref().ok_or_else(missing)?;
                result.changes.request_headers = header_mutation!(modifier);
            }
            HttpRouteRulesFiltersType::ResponseHeaderModifier => {
                let modifier = filter.response_header_modifier.as_ref().ok_or_else(missing)?;
                result.changes.response_headers = header_mutation!(modifier);
            }
            HttpRouteRulesFiltersType::RequestRedirect => {
                result.redirect =
                    Some(redirect(filter.request_redirect.as_ref().ok_or_else(missing)?, prefixes)?);
            }
            HttpRouteRulesFiltersType::UrlRewrite => {
                result.rewrite = Some(rewrite(filter.url_rewrite.as_ref().ok_or_else(missing)?, prefixes)?);
            }
            HttpRouteRulesFiltersType::RequestMirror => {
                match mirror(filter.request_mirror.as_ref().ok_or_else(missing)?, namespace, view) {
                    Ok(mirror) => result.mirrors.extend((mirror.per_million > 0).then_some(mirror)),
                    Err(problem) => unresolved.push(problem),
                }
            }
            HttpRouteRulesFiltersType::Cors => {
                result.changes.cors = Some(cors(filter.cors.as_ref().ok_or_else(missing)?));
            }
            HttpRouteRulesFiltersType::ExtensionRef => {
                let reference = filter.extension_ref.as_ref().ok_or_else(missing)?;
                let message = format!("filter {}/{} is not supported", reference.group, reference.kind);
                return Err((Reason::UnsupportedValue, message));
            }
        }
    }
    if result.redirect.is_some() && result.rewrite.is_some() {
        let message = "RequestRedirect and URLRewrite exclude each other".to_owned();
        return Err((Reason::IncompatibleFilters, message));
    }
    Ok(result)
}

fn redirect(
    filter: &HttpRouteRulesFiltersRequestRedirect,
    prefixes: bool,
) -> Result<Redirect, (Reason, String)> {
    let status = filter.status_code.unwrap_or(302);
    let status = match status {
        301 | 302 | 303 | 307 | 308 => u16::try_from(status).unwrap_or(302),
        _ => {
            return Err((
                Reason::UnsupportedValue,
                format!("requestRedirect.statusCode {status} is not supported"),
            ));
        }
    };
    let path = filter.path.as_ref().map(|path| match path.r#type {
        HttpRouteRulesFiltersRequestRedirectPathType::ReplaceFullPath => {
            path_rewrite(true, path.replace_full_path.as_deref(), prefixes)
        }
        HttpRouteRulesFiltersRequestRedirectPathType::ReplacePrefixMatch => {
            path_rewrite(false, path.replace_prefix_match.as_deref(), prefixes)
        }
    });
    let scheme = filter.scheme.as_ref().map(|scheme| match scheme {
        HttpRouteRulesFiltersRequestRedirectScheme::Http => "http".to_owned(),
        HttpRouteRulesFiltersRequestRedirectScheme::Https => "https".to_owned(),
    });
    Ok(Redirect {
        scheme,
        host: filter.hostname.clone(),
        port: filter.port.and_then(|port| u16::try_from(port).ok()),
        path: path.transpose()?,
        status,
    })
}

fn rewrite(filter: &HttpRouteRulesFiltersUrlRewrite, prefixes: bool) -> Result<Rewrite, (Reason, String)> {
    let path = filter.path.as_ref().map(|path| match path.r#type {
        HttpRouteRulesFiltersUrlRewritePathType::ReplaceFullPath => {
            path_rewrite(true, path.replace_full_path.as_deref(), prefixes)
        }
        HttpRouteRulesFiltersUrlRewritePathType::ReplacePrefixMatch => {
            path_rewrite(false, path.replace_prefix_match.as_deref(), prefixes)
        }
    });
    Ok(Rewrite { host: filter.hostname.clone(), path: path.transpose()? })
}

fn path_rewrite(full: bool, text: Option<&str>, prefixes: bool) -> Result<PathRewrite, (Reason, String)> {
    let text = text.unwrap_or_default().to_owned();
    if full {
        return Ok(PathRewrite::Full(text));
    }
    if !prefixes {
        let message = "ReplacePrefixMatch needs matches of type PathPrefix".to_owned();
        return Err((Reason::UnsupportedValue, message));
    }
    Ok(PathRewrite::Prefix(text))
}

fn mirror(
    filter: &HttpRouteRulesFiltersRequestMirror,
    own_namespace: &str,
    view: &mut View<'_>,
) -> Result<Mirror, ReferenceProblem> {
    let reference = &filter.backend_ref;
    let referrer = Referrer { group: GROUP, kind: "HTTPRoute", namespace: own_namespace };
    let reference = BackendReference {
        group: reference.group.as_deref().unwrap_or_default(),
        kind: reference.kind.as_deref().unwrap_or("Service"),
        namespace: reference.namespace.as_deref().unwrap_or(own_namespace),
        name: &reference.name,
        port: reference.port,
    };
    let backend = resolve_backend(reference, referrer, view)?;
    let share = |numerator: i32, denominator: i32| {
        let (numerator, denominator) = (i64::from(numerator.max(0)), i64::from(denominator.max(1)));
        u32::try_from(numerator * i64::from(ALL) / denominator).unwrap_or(ALL).min(ALL)
    };
    let per_million = match (&filter.fraction, filter.percent) {
        (Some(fraction), _) => share(fraction.numerator, fraction.denominator.unwrap_or(100)),
        (None, Some(percent)) => share(percent, 100),
        (None, None) => ALL,
    };
    Ok(Mirror { backend, per_million })
}

fn cors(filter: &HttpRouteRulesFiltersCors) -> Cors {
    Cors {
        allow_origins: filter.allow_origins.clone().unwrap_or_default(),
        allow_credentials: filter.allow_credentials.unwrap_or_default(),
        allow_methods: filter.allow_methods.clone().unwrap_or_default(),
        allow_headers: filter.allow_headers.clone().unwrap_or_default(),
        expose_headers: filter.expose_headers.clone().unwrap_or_default(),
        max_age_s: filter.max_age.and_then(|age| u32::try_from(age).ok()).unwrap_or(5),
    }
}
