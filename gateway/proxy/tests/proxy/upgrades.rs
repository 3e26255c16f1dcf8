// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Upgrades: bytes both ways after 101, nothing before.

use crate::client::raw;
use crate::config::{Resources, chain, cluster, host, http, listener, route, time, to};
use crate::gateway::{Gateway, options};
use gateway_proxy::{ConnectionLimits, ProxyOptions};
use gateway_xds_api::pb::envoy::config::route::v3::route_action::upgrade_config::ConnectConfig;
use gateway_xds_api::pb::envoy::config::route::v3::{RouteAction, route_action, route_match};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::UpgradeConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers every head with `answer`, then echoes; counts the bytes behind heads.
async fn echoing(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let behind = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&behind);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                assert!(
                    text.contains("connection: upgrade") && text.contains("upgrade: websocket"),
                    "{text}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    counter.fetch_add(count, Ordering::SeqCst);
                    let _ = stream.write_all(&buffer[..count]).await;
                }
            });
        }
    });
    (address, behind)
}

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

async fn gateway(upstream: SocketAddr, allowed: bool) -> Gateway {
    Gateway::listening(&listener(vec![chain(&settings(allowed))]), vec![cluster("one", &[upstream])]).await
}

fn settings(allowed: bool) -> HttpConnectionManager {
    let mut settings = http(vec![host(vec![route("/", to("one"))])]);
    if allowed {
        settings.upgrade_configs =
            vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }];
    }
    settings
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

#[tokio::test]
async fn bytes_pass_both_ways_and_outlive_a_new_snapshot() {
    let (upstream, _) = echoing("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\n").await;
    let mut gateway = gateway(upstream, true).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(
        head.starts_with("http/1.1 101 ")
            && head.contains("sec-websocket-accept: y")
            && head.contains("upgrade: websocket"),
        "{head}"
    );
    for round in 0..50_u8 {
        // Bytes that no HTTP parser would take.
        let sent = [0x81, round, 0, b'\n', b'\r', 0xff];
        stream.write_all(&sent).await.unwrap();
        let mut back = [0; 6];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, sent);
        if round == 25 {
            let snapshot = gateway
                .resources
                .clusters([cluster("other", &[])])
                .listener(&listener(vec![chain(&http(vec![]))]));
            gateway.proxy.install(snapshot).await.unwrap();
        }
    }
    assert_eq!(gateway.metric("envoy_http_downstream_cx_upgrades_active", ""), 1);
    drop(stream);
    gateway
        .until("tunnel ends", |gateway| gateway.metric("envoy_http_downstream_cx_upgrades_active", "") == 0)
        .await;
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection_to_its_end() {
    let (upstream, _) = echoing(GRANTED).await;
    let limited = ProxyOptions {
        connections: ConnectionLimits { listener: 1, ..ConnectionLimits::default() },
        ..options()
    };
    let mut resources = Resources::default();
    resources.clusters([cluster("one", &[upstream])]);
    let gateway = Gateway::start(limited, resources, &listener(vec![chain(&settings(true))])).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("http/1.1 101 "));
    let (answer, closed) = raw(gateway.address, ASK.as_bytes()).await;
    assert!(answer.is_empty() && closed, "{answer}");
    assert_eq!(gateway.proxy.connections(), 1);
    drop(stream);
    gateway.until("room again", |gateway| gateway.proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_silent_tunnel_ends() {
    let (upstream, _) = echoing(GRANTED).await;
    let mut settings = settings(true);
    settings.stream_idle_timeout = time(Duration::from_millis(300));
    let gateway =
        Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[upstream])]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    read_head(&mut stream).await;
    // Bytes keep it alive, silence does not.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    }
    let ended = tokio::time::timeout(Duration::from_secs(3), stream.read_u8()).await;
    assert!(ended.is_ok_and(|byte| byte.is_err()), "it goes on");
}

#[tokio::test]
async fn connect_can_end_here() {
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listening.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listening.accept().await {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
    });
    let ends = route_action::UpgradeConfig {
        upgrade_type: "CONNECT".to_owned(),
        connect_config: Some(ConnectConfig::default()),
        ..Default::default()
    };
    let mut connect = route("/", RouteAction { upgrade_configs: vec![ends], ..to("one") });
    let path = route_match::PathSpecifier::ConnectMatcher(route_match::ConnectMatcher {});
    connect.r#match.as_mut().unwrap().path_specifier = Some(path);
    let settings = http(vec![host(vec![route("/", to("one")), connect])]);
    let gateway =
        Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[upstream])]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n").await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 200 ") && !head.contains("transfer-encoding"), "{head}");
    let sent = [0, b'\n', 0xff, b'\r'];
    stream.write_all(&sent).await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, sent);
    for (line, status) in [
        ("CONNECT db.example HTTP/1.1\r\nhost: db.example", "400"),
        ("CONNECT / HTTP/1.1\r\nhost: db.example", "400"),
        ("CONNECT db.example:99999 HTTP/1.1\r\nhost: db.example:99999", "400"),
    ] {
        let (answer, closed) = raw(gateway.address, format!("{line}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && closed, "{line}: {answer}");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_not_allowed_is_answered_403() {
    let (upstream, _) = echoing("").await;
    let gateway = gateway(upstream, false).await;
    let (answer, _) = raw(gateway.address, ASK.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let (upstream, _) = echoing("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await;
    let gateway = gateway(upstream, true).await;
    let (answer, _) = raw(gateway.address, ASK.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("no"), "{answer}");
}

#[tokio::test]
async fn nothing_behind_the_request_reaches_the_upstream_before_it_agrees() {
    let (upstream, behind) = echoing("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = gateway(upstream, true).await;
    let early = [ASK.as_bytes(), b"\x81\x05early\0"].concat();
    let (answer, closed) = raw(gateway.address, &early).await;
    assert!(closed, "{answer}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(behind.load(Ordering::SeqCst), 0);
}
