// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Upgrades: bytes both ways after 101, nothing before.

use crate::client::raw;
use crate::config::{chain, cluster, host, http, listener, route, to};
use crate::gateway::Gateway;
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
    let mut settings = http(vec![host(vec![route("/", to("one"))])]);
    if allowed {
        settings.upgrade_configs =
            vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }];
    }
    Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[upstream])]).await
}

#[tokio::test]
async fn bytes_pass_both_ways_and_outlive_a_new_snapshot() {
    let (upstream, _) = echoing("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\n").await;
    let mut gateway = gateway(upstream, true).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
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
