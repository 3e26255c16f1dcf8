// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! From the first start to the last request.

use crate::backend::{self, ask};
use crate::configuration::{
    CLUSTER, TABLE, bad_cluster, cluster, endpoints, listener, route_table, virtual_host,
};
use crate::gateway::{Gateway, Relay};
use crate::server::{ServerStream, within};
use gateway_xds_api::ResourceType::{
    Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, VirtualHost,
};
use http::StatusCode;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;

const STAMP: &str = include_str!("../../wasm/tests/host/guests/stamp.wat");

/// Plays the relay until the gateway serves: clusters and endpoints, then listener and routes.
pub async fn configure(
    stream: &mut ServerStream,
    traffic: SocketAddr,
    backend: SocketAddr,
    plugin: Option<&str>,
) {
    stream.opening(3).await;
    stream.send_resources(Cluster, "1", vec![cluster()], &[]).await;
    assert!(stream.answer().await.error_detail.is_none());
    assert_eq!(stream.request().await.resource_names_subscribe, [CLUSTER]);
    stream.send_resources(ClusterLoadAssignment, "2", vec![endpoints(backend)], &[]).await;
    assert!(stream.answer().await.error_detail.is_none());
    stream.send_resources(Listener, "3", vec![listener(traffic, plugin)], &[]).await;
    let answer = stream.answer().await;
    assert!(answer.error_detail.is_none(), "{answer:?}");
    assert_eq!(stream.request().await.resource_names_subscribe, [TABLE]);
    stream.send_resources(RouteConfiguration, "4", vec![route_table()], &[]).await;
    assert!(stream.answer().await.error_detail.is_none());
    stream.send_resources(VirtualHost, "5", vec![virtual_host()], &[]).await;
    assert!(stream.answer().await.error_detail.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_serves_survives_its_relay_and_drains() {
    let folder = TempDir::new().unwrap();
    let backend = backend::start().await;
    let mut relay = Relay::start().await;
    let ports = relay.bootstrap(&folder);
    let gateway = Gateway::start(folder.path(), ports);
    let waiting = gateway.until(ports.readiness, "/healthz/ready", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(waiting, "waiting for: configuration, listeners, workers\n");

    let mut stream = relay.ads.accept().await;
    configure(&mut stream, ports.traffic, backend, None).await;
    gateway.until(ports.readiness, "/healthz/ready", StatusCode::OK).await;
    let answered = ask(ports.traffic, "GET", "shop.example", "/cart").await;
    assert_eq!(answered, Some((StatusCode::OK, "none".into())));
    let other = ask(ports.traffic, "GET", "other.example", "/").await;
    assert_eq!(other.map(|(status, _)| status), Some(StatusCode::NOT_FOUND));

    // A bad resource is named, and changes nothing.
    stream.send_resources(Cluster, "6", vec![bad_cluster()], &[]).await;
    let detail = stream.answer().await.error_detail.unwrap().message;
    assert!(detail.starts_with("bad: "), "{detail}");
    assert_eq!(ask(ports.traffic, "GET", "shop.example", "/").await, Some((StatusCode::OK, "none".into())));

    let dump = gateway.until(ports.admin, "/config_dump/gatefleet", StatusCode::OK).await;
    for part in ["\"shop.example\"", CLUSTER, "\"lastRejection\": \"bad: ", "httproute/shop/cart/0/0"] {
        assert!(dump.contains(part), "{part} is not in {dump}");
    }
    let metrics = gateway.until(ports.metrics, "/stats/prometheus", StatusCode::OK).await;
    for part in [
        "gatefleet_xds_connected 1",
        "gatefleet_xds_updates_total{type=\"Cluster\",result=\"rejected\"} 1",
        "gatefleet_ready 1",
        "process_resident_memory_bytes ",
        "gatefleet_build_info{",
    ] {
        assert!(metrics.contains(part), "{part} is not in {metrics}");
    }
    assert!(
        gateway
            .until(ports.admin, "/certs", StatusCode::OK)
            .await
            .contains("spiffe://fleet.example/cluster/c/")
    );
    let kept = folder.path().join("state/last-good.bin");
    let written = async {
        while !kept.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the configuration on disk", written).await;

    // Killed, and started again while its relay is gone: it serves at once.
    gateway.kill();
    drop(relay);
    let mut gateway = Gateway::start(folder.path(), ports);
    gateway.until(ports.readiness, "/healthz/ready", StatusCode::OK).await;
    assert_eq!(ask(ports.traffic, "GET", "shop.example", "/").await, Some((StatusCode::OK, "none".into())));

    gateway.terminate();
    let said = gateway.until(ports.readiness, "/healthz/ready", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(said, "draining\n");
    // Load balancers still send for a moment.
    assert_eq!(ask(ports.traffic, "GET", "shop.example", "/").await, Some((StatusCode::OK, "none".into())));
    assert!(gateway.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_come_from_the_relay_and_a_bad_one_leaves_everything_as_it_was() {
    let folder = TempDir::new().unwrap();
    let backend = backend::start().await;
    let mut relay = Relay::start().await;
    let module = bytes::Bytes::from(wat::parse_str(STAMP).unwrap());
    let sha256: String = Sha256::digest(&module).iter().map(|byte| format!("{byte:02x}")).collect();
    relay.authority.plugins.lock().insert(sha256.clone(), module);
    let ports = relay.bootstrap(&folder);
    let gateway = Gateway::start(folder.path(), ports);
    let mut stream = relay.ads.accept().await;
    configure(&mut stream, ports.traffic, backend, Some(&sha256)).await;
    gateway.until(ports.readiness, "/healthz/ready", StatusCode::OK).await;
    assert_eq!(
        ask(ports.traffic, "GET", "shop.example", "/").await,
        Some((StatusCode::OK, "stamped".into()))
    );
    assert!(folder.path().join(format!("state/plugins/{sha256}.wasm")).exists());

    let unknown = "0".repeat(64);
    stream.send_resources(Listener, "6", vec![listener(ports.traffic, Some(&unknown))], &[]).await;
    let detail = stream.answer().await.error_detail.unwrap().message;
    assert!(
        detail.starts_with("listener/80: plugin \"stamp\" cannot be used: ") && detail.contains("404"),
        "{detail}"
    );
    assert_eq!(
        ask(ports.traffic, "GET", "shop.example", "/").await,
        Some((StatusCode::OK, "stamped".into()))
    );

    // An endless loop in the plugin answers 503 soon, and the next request is served.
    let looped = within("the loop to be cut off", ask(ports.traffic, "GET", "shop.example", "/loop")).await;
    assert_eq!(looped.map(|(status, _)| status), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(
        ask(ports.traffic, "GET", "shop.example", "/").await,
        Some((StatusCode::OK, "stamped".into()))
    );

    // After a restart without its relay the plugin comes from disk.
    let written = async {
        while !folder.path().join("state/last-good.bin").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the configuration on disk", written).await;
    gateway.kill();
    drop(relay);
    let gateway = Gateway::start(folder.path(), ports);
    assert_eq!(gateway.until(ports.traffic, "/", StatusCode::OK).await, "stamped");
}
