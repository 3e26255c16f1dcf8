// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes which redirects of upstreams are followed.

use crate::decode::{Fault, Scope, number, type_name};
use crate::internal_redirect::{InternalRedirects, RedirectCondition};
use gateway_xds_api::pb::envoy::config::core::v3::TypedExtensionConfig;
use gateway_xds_api::pb::envoy::config::route::v3::InternalRedirectPolicy;
use gateway_xds_api::pb::envoy::extensions::internal_redirect::allow_listed_routes::v3::AllowListedRoutesConfig;
use gateway_xds_api::unpack;
use http::{HeaderName, StatusCode};

/// Codes that may be configured; others are left out, as in Envoy.
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

/// Which redirects are followed.
pub(crate) fn internal_redirects(
    scope: &mut Scope,
    policy: InternalRedirectPolicy,
) -> Result<InternalRedirects, Fault> {
    let InternalRedirectPolicy {
        max_internal_redirects,
        redirect_response_codes,
        predicates,
        allow_cross_scheme_redirect,
        response_headers_to_copy,
    } = policy;
    let mut statuses = Vec::new();
    for code in redirect_response_codes {
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        match status.filter(|_| REDIRECTS.contains(&code)) {
            Some(status) => statuses.push(status),
            None => scope.warn("redirect_response_codes", format_args!("{code} is no redirect")),
        }
    }
    if statuses.is_empty() {
        statuses.push(StatusCode::FOUND);
    }
    let copied = scope.each("response_headers_to_copy", response_headers_to_copy, |scope, name| {
        HeaderName::try_from(&name).map_err(|_| scope.fault(format_args!("{name:?} is not a header name")))
    })?;
    Ok(InternalRedirects {
        max: number(max_internal_redirects).unwrap_or(1),
        statuses: statuses.into(),
        cross_scheme: allow_cross_scheme_redirect,
        conditions: scope.each("predicates", predicates, condition)?.into(),
        copied_headers: copied.into(),
    })
}

fn condition(scope: &mut Scope, predicate: TypedExtensionConfig) -> Result<RedirectCondition, Fault> {
    let any = scope.required("typed_config", predicate.typed_config)?;
    match type_name(&any) {
        "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig" => {
            let AllowListedRoutesConfig { allowed_route_names } =
                unpack(&any).map_err(|error| scope.fault(error))?;
            Ok(RedirectCondition::Allowed(allowed_route_names.into_iter().map(Into::into).collect()))
        }
        "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig" => {
            Ok(RedirectCondition::NotPrevious)
        }
        "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig" => {
            Ok(RedirectCondition::SafeScheme)
        }
        other => Err(scope.fault(format_args!("{other} is not supported"))),
    }
}
