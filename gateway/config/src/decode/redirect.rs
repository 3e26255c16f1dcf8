// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes redirects and answers from the gateway itself.

use crate::decode::local_reply::body_format;
use crate::decode::strings::replacement;
use crate::decode::{Fault, Scope};
use crate::{DirectResponse, PathRewrite, Redirect, RedirectPath};
use bytes::Bytes;
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use http::StatusCode;

/// The largest body of an answer, bytes (Envoy's default is 4 KiB; our control plane allows as much as this).
const MAX_BODY: usize = 1 << 20;

/// A redirect.
pub(crate) fn redirect(scope: &mut Scope, action: pb::RedirectAction) -> Result<Redirect, Fault> {
    let pb::RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = action;
    let scheme: Option<Box<str>> = match scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => Some(scheme.into()),
        _ => None,
    };
    let path = match path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(path)) => {
            Some(path).filter(|path| !path.is_empty()).map(|path| RedirectPath::Full(path.into()))
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            Some(RedirectPath::Rewrite(PathRewrite::Prefix(prefix.into())))
        }
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
            let (pattern, substitution) = scope.at("regex_rewrite", |scope| replacement(scope, rewrite))?;
            Some(RedirectPath::Rewrite(PathRewrite::Regex { pattern, substitution }))
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(scope.field_fault("path_rewrite", "is not supported; use path_redirect"));
        }
    };
    let status = match RedirectResponseCode::try_from(response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => StatusCode::MOVED_PERMANENTLY,
        Ok(RedirectResponseCode::Found) => StatusCode::FOUND,
        Ok(RedirectResponseCode::SeeOther) => StatusCode::SEE_OTHER,
        Ok(RedirectResponseCode::TemporaryRedirect) => StatusCode::TEMPORARY_REDIRECT,
        Ok(RedirectResponseCode::PermanentRedirect) => StatusCode::PERMANENT_REDIRECT,
        Err(_) => return Err(scope.field_fault("response_code", "is unknown")),
    };
    let port = match port_redirect {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| scope.field_fault("port_redirect", "is not a port"))?),
    };
    let host = Some(host_redirect).filter(|host| !host.is_empty()).map(Into::into);
    Ok(Redirect { scheme, host, port, path, status, strip_query })
}

/// An answer from the gateway itself.
pub(crate) fn direct_response(
    scope: &mut Scope,
    action: pb::DirectResponseAction,
) -> Result<DirectResponse, Fault> {
    let pb::DirectResponseAction { status, body, body_format } = action;
    let code = u16::try_from(status)
        .ok()
        .filter(|code| (200..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = code.ok_or_else(|| scope.field_fault("status", "must be from 200 to 599"))?;
    let body =
        body.map(|body| scope.at("body", |scope| inline(scope, body))).transpose()?.unwrap_or_default();
    if body.len() > MAX_BODY {
        return Err(scope.field_fault("body", format_args!("is larger than {MAX_BODY} bytes")));
    }
    let format = body_format.map(|format| self::body_format(scope, "body_format", format)).transpose()?;
    Ok(DirectResponse { status, body, format })
}

/// Bytes that a resource carries itself: nothing is read from the gateway's disk or environment on a control plane's word.
pub(crate) fn inline(scope: &Scope, source: DataSource) -> Result<Bytes, Fault> {
    match source.specifier {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.into()),
        Some(Specifier::InlineString(text)) => Ok(text.into_bytes().into()),
        Some(Specifier::Filename(_)) => {
            Err(scope.field_fault("filename", "is not supported; use inline_bytes or inline_string"))
        }
        Some(Specifier::EnvironmentVariable(_)) => {
            Err(scope
                .field_fault("environment_variable", "is not supported; use inline_bytes or inline_string"))
        }
        None => Err(scope.fault("has no content")),
    }
}
