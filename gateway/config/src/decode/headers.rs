// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes header changes and the substitution commands in their values.

use crate::decode::format::format;
use crate::decode::{Fault, Scope, truth};
use crate::{AppendAction, HeaderAddition, HeaderFormat, HeaderMutations, HeaderTarget, Piece};
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
        value(scope, &header.value)?
    } else {
        let raw = HeaderValue::from_bytes(&header.raw_value);
        HeaderFormat::Literal(
            raw.map_err(|_| scope.field_fault("header.raw_value", "is not a header value"))?,
        )
    };
    Ok(HeaderAddition { target, value, action, keep_empty: keep_empty_value })
}

/// Reads a value with Envoy's substitution commands; `%%` is a percent sign.
fn value(scope: &mut Scope, text: &str) -> Result<HeaderFormat, Fault> {
    let unfit = |scope: &Scope| scope.field_fault("header.value", "has characters that headers cannot carry");
    let format = format(scope, "header.value", text)?;
    match &*format.pieces {
        [] => return Ok(HeaderFormat::Literal(HeaderValue::from_static(""))),
        [Piece::Text(text)] => {
            return HeaderValue::from_str(text).map(HeaderFormat::Literal).map_err(|_| unfit(scope));
        }
        _ => {}
    }
    let fits = |piece: &Piece| match piece {
        Piece::Text(text) => HeaderValue::from_str(text).is_ok(),
        Piece::Command(_) => true,
    };
    if format.pieces.iter().all(fits) { Ok(HeaderFormat::Parts(format)) } else { Err(unfit(scope)) }
}

#[cfg(test)]
mod tests {
    use super::value;
    use crate::decode::Scope;
    use crate::{Format, HeaderFormat, HeaderSource, Operator, Piece, RequestHeader};
    use http::HeaderName;

    #[test]
    fn values_with_commands_are_read() {
        let read = |text: &str| value(&mut Scope::default(), text);
        assert_eq!(read("100%%").unwrap(), HeaderFormat::Literal("100%".parse().unwrap()));
        let command = |operator| Piece::Command(crate::Command { operator, max_length: None });
        let header = |name| HeaderSource::Header(HeaderName::from_static(name));
        let pieces = [
            Piece::Text("a".into()),
            command(Operator::Request(RequestHeader { main: header("x-a"), fallback: Some(header("x-b")) })),
            Piece::Text("%b".into()),
            command(Operator::Protocol),
        ];
        let parts = HeaderFormat::Parts(Format { pieces: pieces.into() });
        assert_eq!(read("a%REQ(X-A?x-b)%%%b%PROTOCOL%").unwrap(), parts);
        for bad in ["50%", "%NOPE%", "%REQ(a b)%", "a\nb", "a\n%PROTOCOL%"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
