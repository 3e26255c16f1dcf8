// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the settings of HTTP filters for a part of the routes (`typed_per_filter_config`).

use crate::Users;
use crate::decode::{Fault, Scope, filters, type_name};
use crate::route::{FilterSetting, FilterSettings};
use gateway_xds_api::pb::envoy::config::route::v3::FilterConfig;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::collections::HashMap;
use std::sync::Arc;

/// The settings at one place.
pub(crate) fn settings(scope: &mut Scope, configs: HashMap<String, Any>) -> Result<FilterSettings, Fault> {
    let mut by_name: Vec<(Box<str>, FilterSetting)> = Vec::with_capacity(configs.len());
    for (name, any) in configs {
        let setting =
            scope.at(format_args!("typed_per_filter_config[{name:?}]"), |scope| setting(scope, &any))?;
        by_name.extend(setting.map(|setting| (name.into(), setting)));
    }
    by_name.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(FilterSettings { by_name: by_name.into() })
}

/// The settings of a route over those of its virtual host.
pub(crate) fn folded(inner: FilterSettings, outer: &FilterSettings) -> FilterSettings {
    if outer.by_name.is_empty() {
        return inner;
    }
    let missing =
        outer.by_name.iter().filter(|(name, _)| inner.get(name).is_none()).cloned().collect::<Vec<_>>();
    let joined = |(name, setting): (Box<str>, FilterSetting)| {
        // Header changes and what is told to authorization services add up, everything else is replaced.
        let setting = match (setting, outer.get(&name)) {
            (FilterSetting::HeaderMutation(own), Some(FilterSetting::HeaderMutation(host))) => {
                FilterSetting::HeaderMutation(own.iter().chain(host).cloned().collect())
            }
            (FilterSetting::ExtAuthz(own), Some(FilterSetting::ExtAuthz(host))) => {
                FilterSetting::ExtAuthz(Arc::new(own.over(host)))
            }
            (FilterSetting::ExtProc(own), Some(FilterSetting::ExtProc(host))) => {
                FilterSetting::ExtProc(Arc::new(own.over(host)))
            }
            (setting, _) => setting,
        };
        (name, setting)
    };
    FilterSettings { by_name: inner.by_name.into_iter().map(joined).chain(missing).collect() }
}

fn setting(scope: &mut Scope, any: &Any) -> Result<Option<FilterSetting>, Fault> {
    match type_name(any) {
        "envoy.config.route.v3.FilterConfig" => {
            let FilterConfig { config, is_optional, disabled } =
                unpack(any).map_err(|error| scope.fault(error))?;
            match config {
                _ if disabled => Ok(Some(FilterSetting::Disabled)),
                None => Ok(Some(FilterSetting::Enabled)),
                Some(inner) if inner.type_url.is_empty() || type_name(&inner) == "google.protobuf.Empty" => {
                    Ok(Some(FilterSetting::Enabled))
                }
                Some(inner) => match inner_setting(scope, &inner) {
                    Err(fault) if is_optional => {
                        scope.warnings.push(fault.to_string());
                        Ok(None)
                    }
                    result => result.map(Some),
                },
            }
        }
        _ => inner_setting(scope, any).map(Some),
    }
}

fn inner_setting(scope: &mut Scope, any: &Any) -> Result<FilterSetting, Fault> {
    match type_name(any) {
        "envoy.extensions.filters.http.cors.v3.CorsPolicy" => {
            filters::cors::policy(scope, any).map(|policy| {
                policy.map_or(FilterSetting::Disabled, |policy| FilterSetting::Cors(Arc::new(policy)))
            })
        }
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute" => {
            filters::api_key_auth::per_route(scope, any).map(|own| FilterSetting::ApiKeyAuth(Arc::new(own)))
        }
        "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit" => {
            filters::bandwidth_limit::limit(scope, any)
                .map(|own| FilterSetting::BandwidthLimit(Arc::new(own)))
        }
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute" => {
            filters::basic_auth::per_route(scope, any)
                .map(|own| FilterSetting::BasicAuth(Arc::new(Users(own))))
        }
        "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute" => {
            filters::compressor::per_route(scope, any)
                .map(|own| own.map_or(FilterSetting::Disabled, FilterSetting::Compressor))
        }
        "envoy.extensions.filters.http.buffer.v3.BufferPerRoute" => filters::buffer::per_route(scope, any)
            .map(|own| own.map_or(FilterSetting::Disabled, |own| FilterSetting::Buffer(Arc::new(own)))),
        "envoy.extensions.filters.http.csrf.v3.CsrfPolicy" => {
            filters::csrf::policy(scope, any).map(|own| FilterSetting::Csrf(Arc::new(own)))
        }
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute" => {
            filters::ext_authz::per_route(scope, any)
                .map(|own| own.map_or(FilterSetting::Disabled, |own| FilterSetting::ExtAuthz(Arc::new(own))))
        }
        "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute" => {
            filters::ext_proc::per_route(scope, any)
                .map(|own| own.map_or(FilterSetting::Disabled, |own| FilterSetting::ExtProc(Arc::new(own))))
        }
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            filters::fault::faults(scope, any).map(|own| FilterSetting::Fault(Arc::new(own)))
        }
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute" => {
            filters::header_mutation::per_route(scope, any)
                .map(|own| FilterSetting::HeaderMutation([Arc::new(own)].into()))
        }
        "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig" => {
            filters::jwt_authn::per_route(scope, any).map(|own| FilterSetting::JwtAuthn(Arc::new(own)))
        }
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => {
            filters::local_rate_limit::limit(scope, any)
                .map(|own| FilterSetting::LocalRateLimit(Arc::new(own)))
        }
        "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute" => {
            filters::rate_limit::per_route(scope, any).map(|own| FilterSetting::RateLimit(Arc::new(own)))
        }
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute" => filters::rbac::per_route(scope, any)
            .map(|own| FilterSetting::Rbac(Arc::new(own.unwrap_or_default()))),
        other => Err(scope.fault(format_args!("{other} is not supported"))),
    }
}
