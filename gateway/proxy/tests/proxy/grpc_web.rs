// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Calls of browsers: binary and text, trailers in the body, answers that are no gRPC.

use crate::client::Client;
use crate::config::{chain, cluster, filter, host, http, http2_cluster, listener, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_xds_api::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};

/// Gives the message back, with trailers, where it is asked by gRPC.
async fn origin() -> Origin {
    Origin::start(|request: Request<hyper::body::Incoming>| async move {
        let kind = request.headers().get("content-type").cloned().unwrap();
        assert_eq!(
            (kind.as_bytes(), request.headers()["te"].as_bytes()),
            (&b"application/grpc"[..], &b"trailers"[..])
        );
        let message = request.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let body = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
        Response::builder()
            .header("content-type", "application/grpc")
            .body(body.map_err(|never| match never {}).boxed())
            .unwrap()
    })
    .await
}

fn listening(backend: &str) -> gateway_xds_api::pb::envoy::config::listener::v3::Listener {
    let mut settings = http(vec![host(vec![route("/", to(backend))])]);
    settings.http_filters = vec![filter("web", &GrpcWeb::default()), filter("router", &Router::default())];
    listener(vec![chain(&settings)])
}

async fn call(gateway: &Gateway, kind: &str, body: Vec<u8>) -> (http::HeaderMap, Vec<u8>) {
    let request =
        Request::post("/s/m").header("host", "a.example").header("content-type", kind).header("accept", kind);
    let answer =
        Client::http1(gateway.address).await.response(request.body(full(body)).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let collected = body.collect().await.unwrap();
    assert!(collected.trailers().is_none_or(HeaderMap::is_empty));
    (parts.headers, collected.to_bytes().to_vec())
}

const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";
const END: &[u8] = b"\x80\0\0\0\x0fgrpc-status:0\r\n";

#[tokio::test]
async fn both_forms_reach_a_grpc_server_and_get_its_trailers() {
    let origin = origin().await;
    let gateway =
        Gateway::listening(&listening("grpc"), vec![http2_cluster("grpc", &[origin.address])]).await;
    let (headers, body) = call(&gateway, "application/grpc-web+proto", MESSAGE.to_vec()).await;
    assert_eq!(headers["content-type"], "application/grpc-web+proto");
    assert_eq!(body, [MESSAGE, END].concat());
    // Two pieces that were encoded on their own, with padding inside.
    let text = [STANDARD.encode(&MESSAGE[..4]), STANDARD.encode(&MESSAGE[4..])].concat();
    let (headers, body) = call(&gateway, "application/grpc-web-text", text.into_bytes()).await;
    assert_eq!(headers["content-type"], "application/grpc-web-text+proto");
    let decoded: Vec<u8> = body.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect();
    assert_eq!(decoded, [MESSAGE, END].concat());
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn what_is_no_grpc_becomes_a_status() {
    let web = Origin::echo().await;
    let gateway = Gateway::listening(&listening("web"), vec![cluster("web", &[web.address])]).await;
    let (_, body) = call(&gateway, "application/json", b"{}".to_vec()).await;
    assert!(String::from_utf8(body).unwrap().contains("content-type: application/json"));
    let (headers, body) = call(&gateway, "application/grpc-web", MESSAGE.to_vec()).await;
    assert_eq!((headers["content-type"].as_bytes(), body), (&b"application/grpc-web+proto"[..], vec![]));
    assert_eq!(headers["grpc-status"], "2");
    assert!(headers["grpc-message"].to_str().unwrap().contains("content-type: application/grpc%0A"));
    let gone = Gateway::listening(&listening("gone"), vec![]).await;
    let (headers, _) = call(&gone, "application/grpc-web", MESSAGE.to_vec()).await;
    assert_eq!(
        (headers["content-type"].as_bytes(), headers["grpc-status"].as_bytes()),
        (&b"application/grpc-web+proto"[..], &b"14"[..])
    );
}
