// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the CSRF filter.

use crate::decode::strings::{fraction, string_matcher};
use crate::decode::{Fault, Scope};
use crate::{CsrfPolicy, Fraction};
use gateway_xds_api::pb::envoy::extensions::filters::http::csrf::v3 as pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;

/// The listener's policy, or a route's.
pub(crate) fn policy(scope: &mut Scope, any: &Any) -> Result<CsrfPolicy, Fault> {
    let pb::CsrfPolicy { filter_enabled, shadow_enabled, additional_origins } =
        unpack(any).map_err(|error| scope.fault(error))?;
    let enabled = scope.required("filter_enabled", filter_enabled)?;
    let enabled = scope.at("filter_enabled", |scope| fraction(scope, enabled))?;
    let shadow = match shadow_enabled {
        None => Fraction { numerator: 0, denominator: 100 },
        Some(share) => scope.at("shadow_enabled", |scope| fraction(scope, share))?,
    };
    let additional_origins = scope.each("additional_origins", additional_origins, string_matcher)?.into();
    Ok(CsrfPolicy { enabled, shadow, additional_origins })
}
