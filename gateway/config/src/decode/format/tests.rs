// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is a format, what is not, and what is a format with nothing to show.

use super::{format, parse};
use crate::decode::Scope;
use crate::{AddressOf, AddressPart, Operator, Piece, Precision, TimePoint};

#[test]
fn commands_are_read_with_parameters_and_lengths() {
    let only = |text: &str| match &*parse(text).unwrap().pieces {
        [Piece::Command(command)] => command.clone(),
        other => panic!("{text}: {other:?}"),
    };
    for (text, operator, max_length) in [
        ("%START_TIME%", Operator::StartTime(None), None),
        ("%START_TIME()%", Operator::StartTime(None), None),
        (
            "%START_TIME(%Y/%m/%d %s.%3f (%z))%",
            Operator::StartTime(Some("%Y/%m/%d %s.%3f (%z)".into())),
            None,
        ),
        ("%START_TIME(%f)%", Operator::StartTime(Some("%9f".into())), None),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            Operator::Address(AddressOf::Client, AddressPart::Ip),
            None,
        ),
        ("%UPSTREAM_REMOTE_PORT%", Operator::Address(AddressOf::Upstream, AddressPart::Port), None),
        (
            "%DYNAMIC_METADATA(a:b:c):7%",
            Operator::DynamicMetadata("a".into(), ["b".into(), "c".into()].into()),
            Some(7),
        ),
        (
            r#"%DYNAMIC_METADATA(["a","b"])%"#,
            Operator::DynamicMetadata("a".into(), ["b".into()].into()),
            None,
        ),
        (
            "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%",
            Operator::Duration(TimePoint::RequestStart, TimePoint::ResponseStart, Precision::Micros),
            None,
        ),
        ("%FILTER_STATE(a:PLAIN):3%", Operator::Blank, Some(3)),
    ] {
        let command = only(text);
        assert_eq!((command.operator, command.max_length), (operator, max_length), "{text}");
    }
}

#[test]
fn what_is_no_format_is_refused_by_name() {
    for (text, says) in [
        ("%", "must be written %%"),
        ("100% sure", "must be written %%"),
        ("%REQ%", "%REQ% needs parameters"),
        ("%REQ(a b)%", "\"a b\" does not name a header"),
        ("%RESPONSE_COD%", "no command operator %RESPONSE_COD%"),
        ("%PROTOCOL(x)%", "takes no parameters"),
        ("%PROTOCOL:3%", "takes no length"),
        ("%REQ(a):x%", "must be written %%"),
        ("%GRPC_STATUS(x)%", "CAMEL_STRING"),
        ("%COMMON_DURATION(DS_RX_BEG:X)%", "\"X\" is no point in time"),
        ("%CEL(request.path)%", "is not supported"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn an_operator_without_a_value_here_is_a_warning() {
    let mut scope = Scope::default();
    format(&mut scope, "text_format", "%%%PROTOCOL% %UPSTREAM_WIRE_BYTES_SENT% %REQ(a)%\n").unwrap();
    assert_eq!(scope.warnings, ["text_format: %UPSTREAM_WIRE_BYTES_SENT% has no value in this gateway"]);
}
