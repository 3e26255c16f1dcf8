// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Access logs as a reader of the files sees them, and the same commands in headers.

use crate::client::Client;
use crate::config::{
    Certificate, Resources, any, chain, cluster, host, http, listener, log_to, route, tls_chain, to,
};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, nobody};
use crate::tls::{connect, trusting};
use gateway_xds_api::pb::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ComparisonFilter, HeaderFilter, ResponseFlagFilter,
    StatusCodeFilter, access_log, access_log_filter::FilterSpecifier,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, RuntimeUInt32, SubstitutionFormatString,
    substitution_format_string::Format,
};
use gateway_xds_api::pb::envoy::config::route::v3::{HeaderMatcher, header_matcher};
use gateway_xds_api::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use gateway_xds_api::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use http::Request;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("gatefleet-{name}-{}", std::process::id()));
    // Of a run before.
    let _ = std::fs::remove_file(&path);
    path
}

fn taken(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    text
}

fn log(path: &Path, format: Format, omit: bool, filter: Option<FilterSpecifier>) -> AccessLog {
    let format = SubstitutionFormatString {
        format: Some(format),
        omit_empty_values: omit,
        ..SubstitutionFormatString::default()
    };
    let file = FileAccessLog {
        path: path.to_str().unwrap().to_owned(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    };
    AccessLog {
        config_type: Some(access_log::ConfigType::TypedConfig(any(&file))),
        filter: filter.map(|filter| AccessLogFilter { filter_specifier: Some(filter) }),
        ..AccessLog::default()
    }
}

#[allow(deprecated, reason = "the short form of a text format")]
fn text(format: &str) -> Format {
    Format::TextFormat(format.to_owned())
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn string(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

fn structure(fields: &[(&str, Value)]) -> Struct {
    Struct { fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect() }
}

#[tokio::test]
async fn without_a_format_lines_are_envoys() {
    let origin = Origin::named("12345").await;
    let path = file("default");
    let mut settings = http(vec![host(vec![route("/", to("one"))])]);
    settings.access_log = vec![log_to(&path)];
    let gateway =
        Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[origin.address])]).await;
    let request = Request::get("/a?b=c").header("host", "a.example").header("x-request-id", "known");
    Client::http1(gateway.address).await.send(request.body(crate::origin::full("")).unwrap()).await;
    drop(gateway);
    let line = taken(&path);
    let fields: Vec<&str> = line.trim_end_matches('\n').split(' ').collect();
    let (time, rest) = fields.split_first().unwrap();
    assert!(time.len() == 26 && time.starts_with("[20") && time.ends_with("Z]"), "{line}");
    assert_eq!(rest[..7].join(" "), "\"GET /a?b=c HTTP/1.1\" 200 - 0 5", "{line}");
    assert!(rest[7..9].iter().all(|millis| millis.parse::<u32>().is_ok()), "{line}");
    let id = rest[11].trim_matches('"');
    assert_eq!(
        rest[9..].join(" "),
        format!("\"127.0.0.1\" \"-\" \"{id}\" \"a.example\" \"{}\"", origin.address),
        "{line}"
    );
    assert!(id.len() == 36, "an edge makes its own id: {line}");
}

#[tokio::test]
async fn json_has_types_nesting_and_several_logs_with_filters() {
    let origin = Origin::named("12345").await;
    let (all, errors) = (file("all"), file("errors"));
    let mut settings = http(vec![host(vec![route("/ok", to("one")), route("/dead", to("dead"))])]);
    let nested = structure(&[
        ("flags", string("%RESPONSE_FLAGS%")),
        ("long", string("%RESPONSE_FLAGS_LONG%")),
        ("route", string("%ROUTE_NAME%")),
    ]);
    let list = ListValue { values: vec![string("%UPSTREAM_CLUSTER%"), value(Kind::NumberValue(4.0))] };
    let format = structure(&[
        ("status", string("%RESPONSE_CODE%")),
        ("path", string("%REQ(:PATH):3%")),
        ("both", string("%PROTOCOL%/%REQ(X-NONE)%")),
        ("none", string("%REQ(X-NONE)%")),
        ("nested", value(Kind::StructValue(nested))),
        ("list", value(Kind::ListValue(list))),
        ("took", string("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%")),
        ("failure", string("%UPSTREAM_TRANSPORT_FAILURE_REASON%")),
    ]);
    let comparison = ComparisonFilter {
        op: 1,
        value: Some(RuntimeUInt32 { default_value: 500, runtime_key: "k".to_owned() }),
    };
    let matcher = HeaderMatcher {
        name: "x-log".to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::PresentMatch(true)),
        ..HeaderMatcher::default()
    };
    let wanted = [
        FilterSpecifier::StatusCodeFilter(StatusCodeFilter { comparison: Some(comparison) }),
        FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter { flags: vec!["UF".to_owned()] }),
        FilterSpecifier::HeaderFilter(HeaderFilter { header: Some(matcher) }),
    ];
    let filters = wanted.map(|filter| AccessLogFilter { filter_specifier: Some(filter) }).into();
    settings.access_log = vec![
        log(&all, Format::JsonFormat(format), true, None),
        log(
            &errors,
            text("%RESPONSE_CODE% %REQ(x-log)%\n"),
            false,
            Some(FilterSpecifier::AndFilter(AndFilter { filters })),
        ),
    ];
    let clusters = vec![cluster("one", &[origin.address]), cluster("dead", &[nobody().await])];
    let gateway = Gateway::listening(&listener(vec![chain(&settings)]), clusters).await;
    let mut client = Client::http1(gateway.address).await;
    for (path, mark) in [("/ok", "a"), ("/dead", ""), ("/dead", "b")] {
        let mut request = Request::get(path).header("host", "a");
        if !mark.is_empty() {
            request = request.header("x-log", mark);
        }
        client.send(request.body(crate::origin::full("")).unwrap()).await;
    }
    drop(gateway);
    let lines: Vec<serde_json::Value> =
        taken(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let (ok, dead) = (&lines[0], &lines[1]);
    assert_eq!((&ok["status"], &ok["path"]), (&200.into(), &"/ok".into()));
    assert_eq!(ok["both"], "HTTP/1.1/");
    assert_eq!(ok["nested"], serde_json::json!({"route": "route /ok"}), "what is not there is left out");
    assert_eq!(ok["list"], serde_json::json!(["one", 4]));
    assert!(ok["took"].as_u64().is_some() && ok.get("none").is_none() && ok.get("failure").is_none(), "{ok}");
    assert_eq!(
        dead["nested"],
        serde_json::json!({"flags": "UF", "long": "UpstreamConnectionFailure", "route": "route /dead"})
    );
    assert_eq!(dead["failure"], "delayed_connect_error:_Connection_refused");
    assert_eq!(taken(&errors), "503 b\n");
}

#[tokio::test]
async fn headers_take_the_same_commands() {
    let origin = Origin::echo().await;
    let mut one = route("/", to("one"));
    let add = |key: &str, value: &str| HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), ..HeaderValue::default() }),
        ..HeaderValueOption::default()
    };
    one.request_headers_to_add = vec![
        add("x-who", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %ROUTE_NAME% %UPSTREAM_CLUSTER%"),
        add("x-year", "%START_TIME(%Y)%%EMIT_TIME(%Y)%"),
        add("x-gone", "%REQ(x-none)%"),
        add("x-query", "%QUERY_PARAM(b)% %REQ_WITHOUT_QUERY(:PATH)%"),
    ];
    one.response_headers_to_add = vec![add("x-told", "%RESPONSE_CODE% %RESP(x-from)%%REQ(host)%")];
    let gateway = Gateway::plain(vec![host(vec![one])], vec![cluster("one", &[origin.address])]).await;
    let answer = crate::client::get(gateway.address, "/p?b=c").await;
    assert_eq!(answer.lines("x-who"), ["x-who: 127.0.0.1 route / one"]);
    assert_eq!(answer.lines("x-query"), ["x-query: c /p"]);
    assert!(answer.lines("x-year")[0].starts_with("x-year: 20"), "{:?}", answer.lines("x-year"));
    assert!(answer.lines("x-gone").is_empty());
    assert!(answer.header("x-told").unwrap().starts_with("200 "), "{:?}", answer.header("x-told"));
}

#[tokio::test]
async fn tls_shows_its_terms() {
    let origin = Origin::named("x").await;
    let path = file("tls");
    let certificate = Certificate::new(&["a.example"]);
    let mut settings = http(vec![host(vec![route("/", to("one"))])]);
    let format = "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_SUBJECT% %UPSTREAM_PROTOCOL%\n";
    settings.access_log = vec![log(&path, text(format), false, None)];
    let mut resources = Resources::default();
    resources.certificate("one", &certificate);
    resources.clusters([cluster("one", &[origin.address])]);
    let gateway =
        Gateway::start(options(), resources, &listener(vec![tls_chain(&settings, &["a.example"], "one")]))
            .await;
    let stream = connect(&gateway, "a.example", &trusting(&[&certificate], &["http/1.1"])).await.unwrap();
    Client::http1_over(stream).await.get("/").await;
    drop(gateway);
    let line = taken(&path);
    assert!(line.starts_with("TLSv1.3 TLS_") && line.ends_with(" a.example - HTTP/1.1\n"), "{line}");
}
