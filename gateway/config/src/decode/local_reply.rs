// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the form of own answers.

use crate::decode::access_log::{log_filter, log_format};
use crate::decode::headers::mutations;
use crate::decode::redirect::inline;
use crate::decode::{Fault, Scope, number};
use crate::local_reply::{BodyFormat, LocalReplies, ReplyMapper};
use crate::{LogFormat, LogLine};
use gateway_xds_api::pb::envoy::config::core::v3::SubstitutionFormatString;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    LocalReplyConfig, ResponseMapper,
};
use http::{HeaderValue, StatusCode};

/// The form of own answers.
pub(crate) fn local_replies(scope: &mut Scope, config: LocalReplyConfig) -> Result<LocalReplies, Fault> {
    let LocalReplyConfig { mappers, body_format: format } = config;
    let mappers = scope.each("mappers", mappers, mapper)?.into();
    let format = format.map(|format| body_format(scope, "body_format", format)).transpose()?;
    Ok(LocalReplies { mappers, format })
}

fn mapper(scope: &mut Scope, mapper: ResponseMapper) -> Result<ReplyMapper, Fault> {
    let ResponseMapper { filter, status_code, body, body_format_override, headers_to_add } = mapper;
    let filter = scope.required("filter", filter)?;
    let status = number(status_code)
        .map(|code| {
            let code = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
            code.and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or_else(|| scope.field_fault("status_code", "must be from 200 to 599"))
        })
        .transpose()?;
    Ok(ReplyMapper {
        filter: scope.at("filter", |scope| log_filter(scope, filter, 0))?,
        status,
        body: body.map(|body| scope.at("body", |scope| inline(scope, body))).transpose()?,
        headers: mutations(scope, "response", headers_to_add, Vec::new())?,
        format: body_format_override
            .map(|format| body_format(scope, "body_format_override", format))
            .transpose()?,
    })
}

/// How a body is written.
pub(crate) fn body_format(
    scope: &mut Scope,
    field: &str,
    format: SubstitutionFormatString,
) -> Result<BodyFormat, Fault> {
    let content_type = format.content_type.clone();
    let LogFormat { line, omit_empty } = scope.at(field, |scope| log_format(scope, Some(format)))?;
    let content_type = match (content_type.as_str(), &line) {
        ("", LogLine::Json(_)) => HeaderValue::from_static("application/json"),
        ("", LogLine::Text(_)) => HeaderValue::from_static("text/plain"),
        (given, _) => HeaderValue::from_str(given)
            .map_err(|_| scope.field_fault(field, "content_type is not a header value"))?,
    };
    Ok(BodyFormat { line, omit_empty, content_type })
}
