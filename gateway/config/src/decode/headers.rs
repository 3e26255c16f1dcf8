// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes header changes and the substitution commands in their values.

use crate::decode::{Fault, Scope, truth};
use crate::{AppendAction, FormatPart, HeaderAddition, HeaderFormat, HeaderMutations, HeaderTarget};
use gateway_xds_api::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};
use http::{HeaderName, HeaderValue};

/// The two halves of header changes, as messages carry them: `kind` is `request` or `response`.
pub(crate) fn mutations(
    scope: &mut Scope,
    kind: &str,
    add: Vec<HeaderValueOption>,
    remove: Vec<String>,
) -> Result<HeaderMutations, Fault> {
    let remove =
        scope.each(
            &format!("{kind}_headers_to_remove"),
            remove,
            |scope, name| match HeaderName::try_from(&name) {
                Ok(name) if name == http::header::HOST => {
                    Err(scope.fault("the host header cannot be removed"))
                }
                Ok(name) => Ok(name),
                Err(_) => Err(scope.fault(format_args!("{name:?} is not a header name"))),
            },
        )?;
    let add = scope.each(&format!("{kind}_headers_to_add"), add, addition)?;
    Ok(HeaderMutations { remove: remove.into(), add: add.into() })
}

/// One header that is set or appended.
#[allow(deprecated, reason = "`append` is still sent by older control planes")]
pub(crate) fn addition(scope: &mut Scope, option: HeaderValueOption) -> Result<HeaderAddition, Fault> {
    let HeaderValueOption { header, append, append_action, keep_empty_value } = option;
    let header = scope.required("header", header)?;
    let target =
        match header.key.as_str() {
            ":authority" | "host" | "Host" => HeaderTarget::Authority,
            name => HeaderTarget::Header(HeaderName::try_from(name).map_err(|_| {
                scope.field_fault("header.key", format_args!("{name:?} is not a header name"))
            })?),
        };
    let action = match (append, HeaderAppendAction::try_from(append_action)) {
        (Some(append), _) => match truth(Some(append), true) {
            true => AppendAction::Append,
            false => AppendAction::Overwrite,
        },
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => AppendAction::Append,
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => AppendAction::AddIfAbsent,
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => AppendAction::Overwrite,
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => AppendAction::OverwriteIfExists,
        (None, Err(_)) => return Err(scope.field_fault("append_action", "is unknown")),
    };
    let value = if header.raw_value.is_empty() {
        format(&header.value).map_err(|message| scope.field_fault("header.value", message))?
    } else {
        let raw = HeaderValue::from_bytes(&header.raw_value);
        HeaderFormat::Literal(
            raw.map_err(|_| scope.field_fault("header.raw_value", "is not a header value"))?,
        )
    };
    Ok(HeaderAddition { target, value, action, keep_empty: keep_empty_value })
}

/// Reads a value with Envoy's substitution commands; `%%` is a percent sign.
pub(crate) fn format(text: &str) -> Result<HeaderFormat, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        let (command, following) = command_end(after)
            .ok_or("a percent sign must be written %%, or begin a command that ends with %")?;
        if command.is_empty() {
            literal.push('%');
        } else {
            if !literal.is_empty() {
                parts.push(FormatPart::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(command_part(command)?);
        }
        rest = following;
    }
    literal.push_str(rest);
    if HeaderValue::from_str(&literal).is_err()
        || parts.iter().any(|part| matches!(part, FormatPart::Text(t) if HeaderValue::from_str(t).is_err()))
    {
        return Err("has characters that headers cannot carry".to_owned());
    }
    if parts.is_empty() {
        return HeaderValue::from_str(&literal)
            .map(HeaderFormat::Literal)
            .map_err(|_| "is not a header value".to_owned());
    }
    if !literal.is_empty() {
        parts.push(FormatPart::Text(literal.into()));
    }
    Ok(HeaderFormat::Parts(parts.into()))
}

/// Splits at the percent sign that ends a command; one inside parentheses does not.
fn command_end(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn command_part(command: &str) -> Result<FormatPart, String> {
    if let Some(names) = command.strip_prefix("REQ(").and_then(|rest| rest.strip_suffix(')')) {
        let (name, fallback) =
            names.split_once('?').map_or((names, None), |(name, fallback)| (name, Some(fallback)));
        let parse = |name: &str| {
            // The authority is the one pseudo header that is a header here.
            let name = if name.eq_ignore_ascii_case(":authority") { "host" } else { name };
            HeaderName::try_from(name).map_err(|_| format!("%REQ({names})% does not name a header"))
        };
        return Ok(FormatPart::RequestHeader {
            name: parse(name)?,
            fallback: fallback.map(parse).transpose()?,
        });
    }
    Ok(match command {
        "DOWNSTREAM_REMOTE_ADDRESS" => FormatPart::RemoteAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => FormatPart::RemoteIp,
        "DOWNSTREAM_LOCAL_ADDRESS" => FormatPart::LocalAddress,
        "PROTOCOL" => FormatPart::Protocol,
        "UPSTREAM_HOST" => FormatPart::UpstreamHost,
        "RESPONSE_CODE" => FormatPart::ResponseCode,
        other => return Err(format!("the command %{other}% is not supported")),
    })
}

#[cfg(test)]
mod tests {
    use super::format;
    use crate::{FormatPart, HeaderFormat};
    use http::HeaderName;

    #[test]
    fn values_with_commands_are_read() {
        assert_eq!(format("100%%").unwrap(), HeaderFormat::Literal("100%".parse().unwrap()));
        let parts = HeaderFormat::Parts(
            [
                FormatPart::Text("a".into()),
                FormatPart::RequestHeader {
                    name: HeaderName::from_static("x-a"),
                    fallback: Some(HeaderName::from_static("x-b")),
                },
                FormatPart::Text("%b".into()),
                FormatPart::Protocol,
            ]
            .into(),
        );
        assert_eq!(format("a%REQ(X-A?x-b)%%%b%PROTOCOL%").unwrap(), parts);
        for bad in ["50%", "%NOPE%", "%REQ(a b)%", "a\nb", "a\n%PROTOCOL%"] {
            assert!(format(bad).is_err(), "{bad:?}");
        }
    }
}
