// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the settings of HTTP filters for a part of the routes (`typed_per_filter_config`).

use crate::decode::strings::string_matcher;
use crate::decode::{Fault, Scope, fields, truth, type_name};
use crate::route::{FilterSetting, FilterSettings};
use crate::{CorsPolicy, Fraction};
use gateway_xds_api::pb::envoy::config::route::v3::FilterConfig;
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3 as cors_pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::HeaderValue;
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
    FilterSettings { by_name: inner.by_name.into_iter().chain(missing).collect() }
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
            let policy = unpack(any).map_err(|error| scope.fault(error))?;
            cors(scope, policy).map(|policy| {
                policy.map_or(FilterSetting::Disabled, |policy| FilterSetting::Cors(Arc::new(policy)))
            })
        }
        other => Err(scope.fault(format_args!("{other} is not supported"))),
    }
}

/// A cross-origin policy; none where it is switched off.
fn cors(scope: &mut Scope, policy: cors_pb::CorsPolicy) -> Result<Option<CorsPolicy>, Fault> {
    fields!(scope, policy => cors_pb::CorsPolicy {
        use {
            allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age, allow_credentials, filter_enabled,
            forward_not_matching_preflights,
        }
        warn { shadow_enabled, allow_private_network_access }
        quiet { }
    });
    if let Some(enabled) = filter_enabled {
        let share = scope.at("filter_enabled", |scope| super::strings::fraction(scope, enabled))?;
        match share {
            Fraction { numerator: 0, .. } => return Ok(None),
            Fraction { numerator, denominator } if numerator < denominator => {
                scope.warn("filter_enabled", "a share between none and all counts as all")
            }
            _ => {}
        }
    }
    let value = |scope: &Scope, field: &str, text: String| match text.is_empty() {
        true => Ok(None),
        false => HeaderValue::from_str(&text)
            .map(Some)
            .map_err(|_| scope.field_fault(field, "is not a header value")),
    };
    Ok(Some(CorsPolicy {
        allow_origins: scope
            .each("allow_origin_string_match", allow_origin_string_match, string_matcher)?
            .into(),
        allow_methods: value(scope, "allow_methods", allow_methods)?,
        allow_headers: value(scope, "allow_headers", allow_headers)?,
        expose_headers: value(scope, "expose_headers", expose_headers)?,
        max_age: value(scope, "max_age", max_age)?,
        allow_credentials: truth(allow_credentials, false),
        forward_unmatched_preflights: truth(forward_not_matching_preflights, true),
    }))
}
