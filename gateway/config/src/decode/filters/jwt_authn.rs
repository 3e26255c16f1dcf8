// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the checks of tokens.

use crate::decode::redirect::inline;
use crate::decode::route_match::route_match;
use crate::decode::services::{http_service, retries};
use crate::decode::strings::string_matcher;
use crate::decode::{Fault, Scope, fields};
use crate::filters::{
    ClaimHeader, JwksSource, JwtAllowance, JwtAuthn, JwtLocations, JwtProvider, JwtRequirement, JwtRoute,
    JwtRule, RemoteJwks, audience,
};
use crate::{Jwks, ServiceRetries};
use gateway_xds_api::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use gateway_xds_api::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    jwt_provider::JwksSourceSpecifier, jwt_requirement::RequiresType, per_route_config, requirement_rule,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::HeaderName;
use http::header::AUTHORIZATION;
use std::sync::Arc;
use std::time::Duration;

/// How long remote keys hold (Envoy's default).
const CACHE: Duration = Duration::from_mins(10);
/// How far clocks may differ (Envoy's default).
const SKEW: Duration = Duration::from_mins(1);
/// Requirements in requirements.
const MAX_DEPTH: u32 = 16;

/// The filter's settings in its listener.
pub(crate) fn jwt_authn(scope: &mut Scope, any: &Any) -> Result<JwtAuthn, Fault> {
    let message: pb::JwtAuthentication = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::JwtAuthentication {
        use { providers, rules, bypass_cors_preflight, requirement_map, strip_failure_response, filter_state_rules }
        warn { }
        quiet { stat_prefix }
    });
    if filter_state_rules.is_some() {
        return Err(scope.field_fault("filter_state_rules", "is not supported; use rules or requirement_map"));
    }
    let mut named: Vec<(String, pb::JwtProvider)> = providers.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let providers: Box<[Arc<JwtProvider>]> = named
        .into_iter()
        .map(|(name, message)| {
            scope
                .at(format_args!("providers[{name:?}]"), |scope| provider(scope, &name, message))
                .map(Arc::new)
        })
        .collect::<Result<_, _>>()?;
    let mut named: Vec<(String, pb::JwtRequirement)> = requirement_map.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let requirements: Box<[(Box<str>, JwtRequirement)]> = named
        .into_iter()
        .map(|(name, message)| {
            let field = format!("requirement_map[{name:?}]");
            let requirement = scope.at(field, |scope| requirement(scope, &providers, message, MAX_DEPTH))?;
            Ok((name.into(), requirement.unwrap_or(JwtRequirement::All([].into()))))
        })
        .collect::<Result<_, Fault>>()?;
    let rules = scope.each("rules", rules, |scope, rule| {
        let pb::RequirementRule { r#match, requirement_type } = rule;
        let condition = scope.required("match", r#match)?;
        let matcher = scope.at("match", |scope| route_match(scope, condition))?;
        let requirement = match requirement_type {
            None => None,
            Some(requirement_rule::RequirementType::Requires(message)) => {
                scope.at("requires", |scope| requirement(scope, &providers, message, MAX_DEPTH))?
            }
            Some(requirement_rule::RequirementType::RequirementName(name)) => {
                let found = requirements.iter().find(|(known, _)| **known == *name);
                let found = found.map(|(_, requirement)| requirement.clone());
                Some(found.ok_or_else(|| {
                    scope.field_fault("requirement_name", format_args!("{name:?} is not in requirement_map"))
                })?)
            }
        };
        Ok(JwtRule { matcher, requirement })
    })?;
    Ok(JwtAuthn {
        providers,
        rules: rules.into(),
        requirements,
        bypass_preflight: bypass_cors_preflight,
        strip_failure_response,
    })
}

/// What a route says.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<JwtRoute, Fault> {
    let pb::PerRouteConfig { requirement_specifier } = unpack(any).map_err(|error| scope.fault(error))?;
    match scope.required("requirement_specifier", requirement_specifier)? {
        per_route_config::RequirementSpecifier::Disabled(true) => Ok(JwtRoute { requirement: None }),
        per_route_config::RequirementSpecifier::Disabled(false) => {
            Err(scope.field_fault("disabled", "must be true; name a requirement otherwise"))
        }
        per_route_config::RequirementSpecifier::RequirementName(name) => {
            Ok(JwtRoute { requirement: Some(name.into()) })
        }
    }
}

fn provider(scope: &mut Scope, name: &str, message: pb::JwtProvider) -> Result<JwtProvider, Fault> {
    fields!(scope, message => pb::JwtProvider {
        use {
            issuer, audiences, subjects, require_expiration, max_lifetime, forward, from_headers, from_params, from_cookies,
            forward_payload_header, pad_forward_payload_header, payload_in_metadata, normalize_payload_in_metadata, header_in_metadata,
            failed_status_in_metadata, clock_skew_seconds, claim_to_headers, clear_route_cache, jwks_source_specifier,
        }
        warn { jwt_cache_config }
        quiet { }
    });
    let text = |text: String| Some(text).filter(|text| !text.is_empty()).map(Box::<str>::from);
    let payload_header = text(forward_payload_header)
        .map(|name| {
            HeaderName::try_from(&*name)
                .map_err(|_| scope.field_fault("forward_payload_header", "is not a header name"))
        })
        .transpose()?;
    let subjects =
        subjects.map(|matcher| scope.at("subjects", |scope| string_matcher(scope, matcher))).transpose()?;
    let normalize = normalize_payload_in_metadata.unwrap_or_default();
    Ok(JwtProvider {
        name: name.into(),
        issuer: issuer.into(),
        audiences: audience_list(&audiences),
        subjects,
        require_expiration,
        max_lifetime: scope.duration("max_lifetime", max_lifetime)?,
        keys: keys(scope, jwks_source_specifier)?,
        forward,
        locations: locations(scope, from_headers, from_params, from_cookies)?,
        payload_header,
        pad_payload_header: pad_forward_payload_header,
        payload_metadata: text(payload_in_metadata),
        space_delimited_claims: normalize.space_delimited_claims.into_iter().map(Into::into).collect(),
        header_metadata: text(header_in_metadata),
        failure_metadata: text(failed_status_in_metadata),
        clock_skew: match clock_skew_seconds {
            0 => SKEW,
            seconds => Duration::from_secs(seconds.into()),
        },
        claim_headers: scope.each("claim_to_headers", claim_to_headers, claim_header)?.into(),
        clear_route_cache,
    })
}

fn claim_header(scope: &mut Scope, claim: pb::JwtClaimToHeader) -> Result<ClaimHeader, Fault> {
    let pb::JwtClaimToHeader { header_name, claim_name, claim_path } = claim;
    let header = HeaderName::try_from(header_name)
        .map_err(|_| scope.field_fault("header_name", "is not a header name"))?;
    let path: Box<[Box<str>]> = match (claim_name.is_empty(), claim_path.is_empty()) {
        (false, true) => claim_name.split('.').map(Into::into).collect(),
        (true, false) => claim_path.into_iter().map(|segment| segment.key.into()).collect(),
        _ => return Err(scope.fault("exactly one of claim_name and claim_path must be set")),
    };
    Ok(ClaimHeader { header, path })
}

fn audience_list(audiences: &[String]) -> Box<[Box<str>]> {
    audiences.iter().map(|text| audience(text).into()).collect()
}

/// The places given, or the default ones.
fn locations(
    scope: &mut Scope,
    headers: Vec<pb::JwtHeader>,
    params: Vec<String>,
    cookies: Vec<String>,
) -> Result<JwtLocations, Fault> {
    if headers.is_empty() && params.is_empty() && cookies.is_empty() {
        return Ok(JwtLocations {
            headers: [(AUTHORIZATION, "Bearer ".into())].into(),
            params: ["access_token".into()].into(),
            cookies: [].into(),
        });
    }
    let mut headers = scope.each("from_headers", headers, |scope, header| {
        let pb::JwtHeader { name, value_prefix } = header;
        let name =
            HeaderName::try_from(name).map_err(|_| scope.field_fault("name", "is not a header name"))?;
        Ok((name, Box::<str>::from(value_prefix)))
    })?;
    // As Envoy looks at them: which of several bad tokens is told depends on it.
    headers.sort_by_cached_key(|(name, prefix)| format!("{name}{prefix}"));
    let sorted = |names: Vec<String>| {
        let mut names: Box<[Box<str>]> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names
    };
    Ok(JwtLocations { headers: headers.into(), params: sorted(params), cookies: sorted(cookies) })
}

fn keys(scope: &mut Scope, source: Option<JwksSourceSpecifier>) -> Result<JwksSource, Fault> {
    match scope.required("jwks_source_specifier", source)? {
        JwksSourceSpecifier::LocalJwks(source) => scope.at("local_jwks", |scope| {
            let text = inline(scope, source)?;
            let keys = Jwks::parse(&text).map_err(|error| scope.fault(error))?;
            Ok(JwksSource::Local(Arc::new(keys)))
        }),
        JwksSourceSpecifier::RemoteJwks(remote) => scope.at("remote_jwks", |scope| {
            let pb::RemoteJwks { http_uri, cache_duration, async_fetch, retry_policy } = remote;
            let uri = scope.required("http_uri", http_uri)?;
            let prefetch = match async_fetch {
                None => None,
                Some(pb::JwksAsyncFetch { fast_listener, failed_refetch_duration }) => {
                    if !fast_listener {
                        scope.warn(
                            "async_fetch.fast_listener",
                            "counts as true: requests wait for the keys, the listener does not",
                        );
                    }
                    let wait =
                        scope.duration("async_fetch.failed_refetch_duration", failed_refetch_duration)?;
                    Some(wait.filter(|wait| *wait > Duration::ZERO).unwrap_or(Duration::from_secs(1)))
                }
            };
            let retries = retry_policy.map(|policy| scope.at("retry_policy", |scope| retries(scope, policy)));
            Ok(JwksSource::Remote(Arc::new(RemoteJwks {
                service: scope.at("http_uri", |scope| http_service(scope, uri))?,
                cache: scope.duration("cache_duration", cache_duration)?.unwrap_or(CACHE),
                prefetch,
                retries: retries.transpose()?.unwrap_or_else(ServiceRetries::default),
            })))
        }),
    }
}

/// What a request needs; none: nothing.
fn requirement(
    scope: &mut Scope,
    providers: &[Arc<JwtProvider>],
    message: pb::JwtRequirement,
    depth: u32,
) -> Result<Option<JwtRequirement>, Fault> {
    let Some(depth) = depth.checked_sub(1) else { return Err(scope.fault("has too many levels")) };
    let place = |scope: &Scope, name: &str| {
        providers
            .iter()
            .position(|provider| &*provider.name == name)
            .ok_or_else(|| scope.field_fault("provider_name", format_args!("{name:?} is not in providers")))
    };
    let Some(requires) = message.requires_type else { return Ok(None) };
    Ok(Some(match requires {
        RequiresType::ProviderName(name) => {
            JwtRequirement::Provider { provider: place(scope, &name)?, audiences: None }
        }
        RequiresType::ProviderAndAudiences(pb::ProviderWithAudiences { provider_name, audiences }) => {
            JwtRequirement::Provider {
                provider: place(scope, &provider_name)?,
                audiences: Some(audience_list(&audiences)),
            }
        }
        RequiresType::RequiresAll(list) => {
            let all = scope.each("requires_all", list.requirements, |scope, message| {
                requirement(scope, providers, message, depth)
            })?;
            JwtRequirement::All(all.into_iter().flatten().collect())
        }
        RequiresType::RequiresAny(list) => {
            let any = scope.each("requires_any", list.requirements, |scope, message| {
                let inner = requirement(scope, providers, message, depth)?;
                inner.ok_or_else(|| scope.fault("is empty, which would make the others pointless"))
            })?;
            let (allowances, of): (Vec<_>, Vec<_>) =
                any.into_iter().partition(|one| matches!(one, JwtRequirement::Allow(_)));
            let otherwise = allowances.iter().filter_map(|one| match one {
                JwtRequirement::Allow(allowance) => Some(*allowance),
                _ => None,
            });
            let otherwise = otherwise.max();
            match (of.is_empty(), otherwise) {
                (true, Some(allowance)) => JwtRequirement::Allow(allowance),
                _ => JwtRequirement::Any { of: of.into(), otherwise },
            }
        }
        RequiresType::AllowMissingOrFailed(_) => JwtRequirement::Allow(JwtAllowance::MissingOrFailed),
        RequiresType::AllowMissing(_) => JwtRequirement::Allow(JwtAllowance::Missing),
        RequiresType::ExtractOnlyWithoutValidation(_) => {
            return Err(scope.field_fault(
                "extract_only_without_validation",
                "is not supported: claims that nobody checked must not look like others",
            ));
        }
    }))
}
