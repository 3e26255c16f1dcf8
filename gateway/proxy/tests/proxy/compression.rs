// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Answers that are compressed, and those that stay as they are.

use crate::client::Client;
use crate::config::{any, chain, cluster, filter, host, http, listener, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full};
use gateway_xds_api::pb::envoy::config::core::v3::TypedExtensionConfig;
use gateway_xds_api::pb::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use gateway_xds_api::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use gateway_xds_api::pb::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use gateway_xds_api::pb::envoy::extensions::filters::http::compressor::v3::{
    Compressor, CompressorPerRoute, compressor::ResponseDirectionConfig, compressor_per_route,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use http::{Request, Response};
use http_body_util::BodyExt;
use prost::Name;
use std::io::Read;

/// The last one takes the header away, so that the others before it have seen it.
fn compressor(library: &impl Name, last: bool) -> Compressor {
    Compressor {
        compressor_library: Some(TypedExtensionConfig {
            name: "library".to_owned(),
            typed_config: Some(any(library)),
        }),
        response_direction_config: Some(ResponseDirectionConfig {
            remove_accept_encoding_header: last,
            ..ResponseDirectionConfig::default()
        }),
        ..Compressor::default()
    }
}

/// Answers by the path: a type, a length, headers.
async fn origin() -> Origin {
    Origin::start(|request: Request<hyper::body::Incoming>| async move {
        assert!(!request.headers().contains_key("accept-encoding"));
        let text = "compress me ".repeat(1000);
        let answer = Response::builder();
        let (answer, body) = match request.uri().path() {
            "/image" => (answer.header("content-type", "image/png"), text),
            "/short" => (answer.header("content-type", "text/plain"), "short".to_owned()),
            "/encoded" => (answer.header("content-encoding", "x"), text),
            "/tagged" => {
                (answer.header("content-type", "text/html; charset=utf-8").header("etag", "\"1\""), text)
            }
            "/fixed" => (answer.header("cache-control", "private, no-transform"), text),
            "/partial" => (answer.status(206).header("content-type", "text/plain"), text),
            _ => (answer.header("content-type", "application/json").header("vary", "origin"), text),
        };
        answer.body(full(body)).unwrap()
    })
    .await
}

async fn gateway(origin: &Origin) -> Gateway {
    let mut off = route("/off", to("one"));
    let disabled = CompressorPerRoute { r#override: Some(compressor_per_route::Override::Disabled(true)) };
    for name in ["gzip", "br", "zstd"] {
        off.typed_per_filter_config.insert(name.to_owned(), any(&disabled));
    }
    let mut settings = http(vec![host(vec![off, route("/", to("one"))])]);
    settings.http_filters = vec![
        filter("gzip", &compressor(&Gzip::default(), false)),
        filter("br", &compressor(&Brotli::default(), false)),
        filter("zstd", &compressor(&Zstd::default(), true)),
        filter("router", &Router::default()),
    ];
    Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[origin.address])]).await
}

async fn ask(gateway: &Gateway, path: &str, accepted: &str) -> (http::HeaderMap, Vec<u8>) {
    let request = Request::get(path).header("host", "a.example").header("accept-encoding", accepted);
    let answer =
        Client::http1(gateway.address).await.response(request.body(full("")).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    (parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn each_client_gets_what_it_likes_best() {
    let origin = origin().await;
    let gateway = gateway(&origin).await;
    let expected = "compress me ".repeat(1000).into_bytes();
    for (accepted, encoding) in [("gzip, br, zstd", "gzip"), ("gzip;q=0.1, br", "br"), ("zstd", "zstd")] {
        let (headers, body) = ask(&gateway, "/", accepted).await;
        assert_eq!(headers["content-encoding"], encoding, "{accepted}");
        assert_eq!(headers["vary"], "origin, Accept-Encoding");
        assert!(!headers.contains_key("content-length") && body.len() < expected.len() / 10);
        let mut text = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&*body).read_to_end(&mut text),
            "br" => brotli::Decompressor::new(&*body, 4096).read_to_end(&mut text),
            _ => zstd::stream::read::Decoder::new(&*body).unwrap().read_to_end(&mut text),
        }
        .unwrap();
        assert!(text == expected, "{encoding}");
    }
    assert_eq!(gateway.metric("envoy_http_compressor_total_uncompressed_bytes", ""), 36_000);
}

#[tokio::test]
async fn what_must_not_be_changed_is_not() {
    let origin = origin().await;
    let gateway = gateway(&origin).await;
    for path in ["/image", "/short", "/encoded", "/fixed", "/partial"] {
        let (headers, _) = ask(&gateway, path, "gzip").await;
        assert_ne!(
            headers.get("content-encoding").map(|value| value.as_bytes()),
            Some(&b"gzip"[..]),
            "{path}"
        );
        assert!(!headers.contains_key("vary"), "{path}");
    }
    // Not for this client, but another one could have it compressed: caches are told.
    let (headers, body) = ask(&gateway, "/", "identity").await;
    assert!(!headers.contains_key("content-encoding") && body.len() == 12_000);
    assert_eq!(headers["vary"], "origin, Accept-Encoding");
    let (headers, _) = ask(&gateway, "/tagged", "gzip").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(!headers.contains_key("etag"), "a strong tag promises the same bytes");
}

#[tokio::test]
async fn a_route_can_switch_it_off() {
    let origin = Origin::start(|request: Request<hyper::body::Incoming>| async move {
        let seen = request.headers().contains_key("accept-encoding");
        Response::builder()
            .header("content-type", "text/plain")
            .header("x-seen", seen.to_string())
            .body(full("x".repeat(100)))
            .unwrap()
    })
    .await;
    let gateway = gateway(&origin).await;
    let (headers, body) = ask(&gateway, "/off", "gzip").await;
    assert!(!headers.contains_key("content-encoding") && body.len() == 100);
    assert_eq!(headers["x-seen"], "true");
}
