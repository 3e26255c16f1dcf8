// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What mutations start from: one or more good inputs for each target, and the words of its grammar.

use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{Descriptors, ResourceType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// Inputs to begin with.
pub type Seeds = Vec<Vec<u8>>;

/// Types of resources by the first byte of an input.
pub(crate) const KINDS: [ResourceType; 6] = [
    ResourceType::Cluster,
    ResourceType::ClusterLoadAssignment,
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
    ResourceType::VirtualHost,
    ResourceType::Secret,
];

static DESCRIPTORS: LazyLock<Option<Descriptors>> = LazyLock::new(|| Descriptors::load().ok());
static RESOURCES: LazyLock<Vec<(ResourceType, Any)>> = LazyLock::new(|| {
    let written: Vec<Value> =
        serde_json::from_str(include_str!("../corpus/resources.json")).unwrap_or_default();
    let packed = written.iter().filter_map(packed).collect::<Vec<_>>();
    assert_eq!(packed.len(), written.len(), "a resource of the corpus is none");
    packed
});

fn packed(json: &Value) -> Option<(ResourceType, Any)> {
    let any = DESCRIPTORS.as_ref()?.from_json(json).ok()?;
    Some((ResourceType::from_type_url(&any.type_url)?, any))
}

/// A resource of the corpus; the first is a cluster.
pub(crate) fn resource(number: usize) -> (ResourceType, Any) {
    RESOURCES[number].clone()
}

/// A listener with an access log of this format; none where the format is no JSON of one.
pub(crate) fn listener_logging(format: &Value) -> Option<Any> {
    let log = json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/null",
        "log_format": format,
    });
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    let http = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "fuzz",
        "route_config": {"name": "inline"},
        "http_filters": [{"name": "router", "typed_config": router}],
        "access_log": [{"name": "file", "typed_config": log}],
    });
    let listener = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "fuzz",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    });
    packed(&listener).map(|(_, any)| any)
}

/// Good inputs of a target.
#[must_use]
pub fn seeds(target: &str) -> Seeds {
    let texts: &[&str] = match target {
        "request-head" => &[
            "\x07GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n\r\n",
            "\x03POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\x05POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
            "\x01OPTIONS * HTTP/1.0\r\n\r\n",
        ],
        "chunked-body" => &[
            "\x073\r\nabc\r\nA;ext=\"q\"\r\n0123456789\r\n0\r\n\r\n",
            "\x020\r\nX-Trailer: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        "proxy-protocol" => &[
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\nGET /",
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY UNKNOWN\r\n",
            "\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c",
        ],
        "path" => &[
            "\0/a/../b/./c?d=/../e",
            "\x0b/%2e%2e/%2Fa//b;c=d/%41%7e",
            "\x06/a%5cb\\c/..",
            "\x03//a//%c0%ae/%00",
        ],
        "preface" => &["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", "GET / HTTP/1.1\r\n"],
        "jwt" => &[
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJpIiwic3ViIjoicyIsImV4cCI6MTcwMDAwMDAzMCwiYXVkIjpbImEiXX0.c2ln\n{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"c2VjcmV0\"}]}",
            "eyJhbGciOiJSUzI1NiJ9.e30.AAAA\n{\"keys\":[{\"kty\":\"RSA\",\"n\":\"u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0\",\"e\":\"AQAB\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}",
        ],
        "grpc-web" => &["\x03AAAAAAVoZWxsbw==gAAAAA9ncnBjLXN0YXR1czowDQo="],
        "access-log" => &[
            "[%START_TIME(%Y/%m/%dT%H:%M:%S%.3f)%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20% %PROTOCOL%\" %RESPONSE_CODE%\n",
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DYNAMIC_METADATA(a:b:c)% %COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)% 100%%",
        ],
        _ => &[],
    };
    let mut seeds: Seeds = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "tls-hello" => seeds.extend(client_hello().map(|hello| [&[9], &hello[..]].concat())),
        "frames" => seeds.push(frames()),
        "xds" => seeds.extend(RESOURCES.iter().filter_map(|(kind, any)| {
            let first = KINDS.iter().position(|known| known == kind)?;
            Some([&[u8::try_from(first).ok()?], &any.value[..]].concat())
        })),
        _ => {}
    }
    seeds
}

/// Words that a target's inputs are made of.
#[must_use]
pub fn dictionary(target: &str) -> &'static [&'static [u8]] {
    match target {
        "request-head" | "chunked-body" => &[
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b": ",
            b"\t",
            b"\0",
            b"Content-Length: 1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Host: b\r\n",
            b"HTTP/1.0",
            b"chunked",
            b"ffffffffffffffff",
            b";",
            b"\"",
            b" ",
        ],
        "proxy-protocol" => {
            &[b"PROXY ", b"TCP4", b"TCP6", b"\r\n", b"\0\r\nQUIT\n", b"65536", b"::", b"\xff\xff"]
        }
        "path" => {
            &[b"/", b"..", b".", b"%2e", b"%2F", b"%5c", b"\\", b"%00", b"%25", b"//", b"?", b"#", b";"]
        }
        "preface" => &[b"PRI", b" * HTTP/2.0", b"SM", b"\r\n\r\n"],
        "frames" => &[
            b"\0\0\0\x04\0\0\0\0\0",
            b"\0\0\x04\x08\0\0\0\0\0",
            b"\0\0\x01\x09\0\0\0\0\x01",
            b"\xff\xff\xff",
            b"\x04",
            b"\0",
        ],
        "jwt" => &[b".", b"\n", b"{}", b"e30", b"\"keys\"", b"eyJhbGciOiJub25lIn0", b"-1", b"1e400", b"null"],
        "grpc-web" => &[b"=", b"==", b"AAAA", b"gAAAAA"],
        "access-log" => &[
            b"%",
            b"%%",
            b"(",
            b")",
            b":",
            b"?",
            b"%REQ(",
            b"%START_TIME(",
            b"%Y",
            b"%f",
            b"%1f",
            b"%.9s",
            b":0%",
            b"%QUERY_PARAM(",
        ],
        _ => &[b"\0", b"\xff", b"\x08\x01", b"\x12\0", b"\x0a", b"/", b"*", b"type.googleapis.com/"],
    }
}

/// The first flight of a TLS client.
fn client_hello() -> Option<Vec<u8>> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from("a.example").ok()?).ok()?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).ok()?;
    Some(bytes)
}

fn frames() -> Vec<u8> {
    let mut bytes = vec![13];
    for (kind, flags, stream, payload) in [
        (4, 0, 0, 6),
        (1, 4, 1, 20),
        (0, 0, 1, 30),
        (9, 4, 1, 3),
        (8, 0, 0, 4),
        (6, 0, 0, 8),
        (3, 0, 1, 4),
        (2, 0, 1, 5),
    ] {
        bytes.extend([0, 0, payload, kind, flags, 0, 0, 0, stream]);
        bytes.extend(std::iter::repeat_n(7, usize::from(payload)));
    }
    bytes
}
