// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! JSON lines: types, quoting, what is left out.

use super::time::write_time;
use super::{LiveHeaders, Values, write_json, write_text};
use gateway_config::{Command, Format, HeaderSource, JsonFormat, Operator, Piece, RequestHeader};
use gateway_filter_api::{ConnectionInfo, RequestHead};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use std::time::{Duration, SystemTime};

fn header(name: &'static str) -> Command {
    let main = HeaderSource::Header(HeaderName::from_static(name));
    Command { operator: Operator::Request(RequestHeader { main, fallback: None }), max_length: None }
}

fn written(write: impl FnOnce(&mut Vec<u8>, &Values<'_>)) -> String {
    let connection = ConnectionInfo {
        id: 7,
        remote: "127.0.0.1:5".parse().unwrap(),
        direct_remote: "127.0.0.1:5".parse().unwrap(),
        local: "127.0.0.1:80".parse().unwrap(),
        listener: "l".into(),
        tls: None,
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-odd", HeaderValue::from_bytes(b"a\"b\\\xff\t").unwrap());
    let request = RequestHead {
        method: Method::GET,
        https: false,
        authority: HeaderValue::from_static("a"),
        path: "/p?q=1&r=2".parse().unwrap(),
        headers,
        version: Version::HTTP_2,
    };
    let live = LiveHeaders { request: &request, response: None };
    let values = Values { headers: Some(&live), status: Some(StatusCode::OK), ..Values::of(&connection) };
    let mut out = Vec::new();
    write(&mut out, &values);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_keeps_types_and_quotes_what_it_must() {
    let command = |operator| Command { operator, max_length: None };
    let format = JsonFormat::Object(
        [
            ("\"absent\":".into(), JsonFormat::Value(header("x-absent"))),
            ("\"code\":".into(), JsonFormat::Value(command(Operator::ResponseCode))),
            (
                "\"inner\":".into(),
                JsonFormat::Array(
                    [JsonFormat::Literal("true".into()), JsonFormat::Value(command(Operator::Protocol))]
                        .into(),
                ),
            ),
            ("\"odd\":".into(), JsonFormat::Value(header("x-odd"))),
            (
                "\"text\":".into(),
                JsonFormat::Text(Format {
                    pieces: [
                        Piece::Text("q=".into()),
                        Piece::Command(command(Operator::QueryParameter("r".into()))),
                    ]
                    .into(),
                }),
            ),
        ]
        .into(),
    );
    let json = |omit| written(|out, values| assert!(write_json(out, &format, values, omit)));
    let rest = r#""code":200,"inner":[true,"HTTP/2"],"odd":"a\"b\\�\t","text":"q=2"}"#;
    assert_eq!(json(false), format!("{{\"absent\":null,{rest}"));
    assert_eq!(json(true), format!("{{{rest}"));
}

#[test]
fn text_is_cut_and_marks_what_is_absent() {
    let format = Format {
        pieces: [
            Piece::Command(Command { max_length: Some(3), ..header("x-odd") }),
            Piece::Text(" ".into()),
            Piece::Command(header("x-absent")),
        ]
        .into(),
    };
    assert_eq!(written(|out, values| write_text(out, &format, values, "-")), "a\"b -");
}

#[test]
fn times_are_written_in_rfc_3339_or_as_asked() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_023);
    for (format, expected) in [
        (None, "2023-11-14T22:13:20.023Z"),
        (Some("%Y/%m/%d %H:%M:%S"), "2023/11/14 22:13:20"),
        (Some("%s.%3f"), "1700000000.023"),
        (Some("%9f"), "023000000"),
    ] {
        let mut out = Vec::new();
        assert!(write_time(&mut out, time, format));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
