// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes users and their passwords' digests. Messages never repeat a digest.

use crate::decode::redirect::inline;
use crate::decode::{Fault, Scope, fields};
use crate::{BasicAuth, Users};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_xds_api::pb::envoy::config::core::v3::DataSource;
use gateway_xds_api::pb::envoy::extensions::filters::http::basic_auth::v3 as pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::HeaderName;
use std::collections::HashMap;

/// The listener's users.
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<BasicAuth, Fault> {
    let message: pb::BasicAuth = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::BasicAuth {
        use { users, forward_username_header, authentication_header, allow_missing, emit_dynamic_metadata }
        warn { }
        quiet { }
    });
    Ok(BasicAuth {
        users: Users(self::users(scope, users)?),
        forward_username: name(scope, "forward_username_header", &forward_username_header)?,
        header: name(scope, "authentication_header", &authentication_header)?,
        allow_missing,
        emit_metadata: emit_dynamic_metadata,
    })
}

/// A route's users.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<HashMap<Box<str>, [u8; 20]>, Fault> {
    let pb::BasicAuthPerRoute { users } = unpack(any).map_err(|error| scope.fault(error))?;
    self::users(scope, users)
}

/// Lines of `htpasswd -s`: `name:{SHA}digest`.
fn users(scope: &mut Scope, source: Option<DataSource>) -> Result<HashMap<Box<str>, [u8; 20]>, Fault> {
    let source = scope.required("users", source)?;
    scope.at("users", |scope| {
        let bytes = inline(scope, source)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| scope.fault("is not text"))?;
        let mut users = HashMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let parsed = line.split_once(':').and_then(|(name, digest)| {
                let digest = STANDARD.decode(digest.strip_prefix("{SHA}")?).ok()?;
                Some((name, <[u8; 20]>::try_from(digest).ok()?)).filter(|(name, _)| !name.is_empty())
            });
            let Some((name, digest)) = parsed else {
                let message = "must be name:{SHA}digest, as `htpasswd -s` writes it";
                return Err(scope.fault(format_args!("line {number} {message}")));
            };
            if users.insert(name.into(), digest).is_some() {
                return Err(scope.fault(format_args!("line {number}: the user is there twice")));
            }
        }
        Ok(users)
    })
}

fn name(scope: &Scope, field: &str, name: &str) -> Result<Option<HeaderName>, Fault> {
    if name.is_empty() {
        return Ok(None);
    }
    HeaderName::try_from(name)
        .map(Some)
        .map_err(|_| scope.field_fault(field, format_args!("{name:?} is not a header name")))
}
