// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Another try, another host, and the end of patience.

use crate::client::{Client, get};
use crate::config::{cluster, host, route, time, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody, raw};
use bytes::Bytes;
use futures::stream;
use gateway_xds_api::pb::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate};
use gateway_xds_api::pb::envoy::config::route::v3::{RetryPolicy, RouteAction};
use gateway_xds_api::pb::google::protobuf::UInt32Value;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn retrying(on: &str, attempts: u32) -> RetryPolicy {
    RetryPolicy {
        retry_on: on.to_owned(),
        num_retries: Some(UInt32Value { value: attempts }),
        retry_back_off: Some(RetryBackOff {
            base_interval: time(Duration::from_millis(5)),
            max_interval: time(Duration::from_millis(20)),
        }),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: None,
        }],
        host_selection_retry_max_attempts: 3,
        ..Default::default()
    }
}

fn with(policy: RetryPolicy) -> RouteAction {
    RouteAction { retry_policy: Some(policy), ..to("one") }
}

#[tokio::test]
async fn a_dead_host_costs_no_request() {
    let origin = Origin::named("alive").await;
    let hosts = vec![host(vec![route("/", with(retrying("connect-failure", 1)))])];
    let gateway = Gateway::plain(hosts, vec![cluster("one", &[nobody().await, origin.address])]).await;
    let mut client = Client::http1(gateway.address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.body, "alive");
    }
    assert!(gateway.metric("envoy_cluster_upstream_rq_retry{", "") > 0);
}

#[tokio::test]
async fn an_answer_worth_it_is_tried_on_another_host_with_its_body() {
    let (bad, good) = (Origin::status(503).await, Origin::echo().await);
    let hosts = vec![host(vec![route("/", with(retrying("5xx", 1)))])];
    let gateway = Gateway::plain(hosts, vec![cluster("one", &[bad.address, good.address])]).await;
    let mut client = Client::http1(gateway.address).await;
    for _ in 0..10 {
        let answer =
            client.send(Request::post("/").header("host", "a").body(full("kept body")).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.lines("body")), (200, vec!["body: kept body"]));
    }
    assert!(bad.count() > 0);
    assert_eq!(gateway.metric("envoy_cluster_upstream_rq_retry_success", ""), bad.count() as u64);
}

#[tokio::test]
async fn the_last_answer_is_passed_on_and_tries_are_counted() {
    let bad = Origin::status(503).await;
    let hosts = vec![host(vec![
        route("/many", with(retrying("5xx", 3))),
        route("/", with(retrying("gateway-error", 0))),
    ])];
    let gateway = Gateway::plain(hosts, vec![cluster("one", &[bad.address])]).await;
    assert_eq!(get(gateway.address, "/many").await.status.as_u16(), 503);
    assert_eq!(bad.count(), 4);
    assert_eq!(get(gateway.address, "/").await.status.as_u16(), 503);
    assert_eq!(bad.count(), 5);
}

#[tokio::test]
async fn other_answers_are_not_tried_again() {
    let origin = Origin::status(404).await;
    let hosts = vec![host(vec![route("/", with(retrying("5xx,reset,connect-failure", 3)))])];
    let gateway = Gateway::plain(hosts, vec![cluster("one", &[origin.address])]).await;
    assert_eq!(get(gateway.address, "/").await.status.as_u16(), 404);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_body_above_the_limit_is_sent_once() {
    let bad = Origin::start(|request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        Response::builder().status(503).body(full("")).unwrap()
    })
    .await;
    let hosts = vec![host(vec![route("/", with(retrying("5xx", 3)))])];
    let gateway = Gateway::plain(hosts, vec![cluster("one", &[bad.address])]).await;
    let request = Request::post("/").header("host", "a").body(full(vec![b'x'; 3 << 20])).unwrap();
    assert_eq!(Client::http1(gateway.address).await.send(request).await.status.as_u16(), 503);
    assert_eq!(bad.count(), 1);
}

#[tokio::test]
async fn a_request_ends_in_time() {
    let slow = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Response::new(full(""))
    })
    .await;
    let action = RouteAction { timeout: time(Duration::from_millis(200)), ..to("one") };
    let per_try = RetryPolicy { per_try_timeout: time(Duration::from_millis(100)), ..retrying("5xx", 1) };
    let tried = RouteAction { timeout: time(Duration::from_secs(5)), ..with(per_try) };
    let gateway = Gateway::plain(
        vec![host(vec![route("/try", tried), route("/", action)])],
        vec![cluster("one", &[slow.address])],
    )
    .await;
    for (target, least, tries) in [("/", 200, 1), ("/try", 200, 3)] {
        let start = Instant::now();
        let answer = get(gateway.address, target).await;
        let took = start.elapsed();
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (504, "upstream request timeout"),
            "{target}"
        );
        assert!(took >= Duration::from_millis(least) && took < Duration::from_secs(4), "{target}: {took:?}");
        assert_eq!(slow.count(), tries, "{target}");
    }
    assert_eq!(gateway.metric("envoy_cluster_upstream_rq_timeout", ""), 1);
    assert_eq!(gateway.metric("envoy_cluster_upstream_rq_per_try_timeout", ""), 2);
}

#[tokio::test]
async fn a_time_that_runs_out_during_the_answer_cuts_it() {
    let slow = Origin::start(|_| async {
        let pieces = stream::unfold(0, |count| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let piece = Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(Bytes::from("piece")));
            (count < 100).then_some((piece, count + 1))
        });
        Response::new(BodyExt::boxed(StreamBody::new(Box::pin(pieces))))
    })
    .await;
    let action = RouteAction { timeout: time(Duration::from_millis(300)), ..to("one") };
    let gateway =
        Gateway::plain(vec![host(vec![route("/", action)])], vec![cluster("one", &[slow.address])]).await;
    for mut client in [Client::http1(gateway.address).await, Client::http2(gateway.address).await] {
        let request = match client {
            Client::Http1(_) => Request::get("/").header("host", "a"),
            Client::Http2(_) => Request::get("http://a/"),
        };
        assert!(
            client.try_send(request.body(full("")).unwrap()).await.is_err(),
            "a cut body must not look complete"
        );
    }
}

#[tokio::test]
async fn broken_upstreams_give_502_and_503() {
    let (garbage, closed) = (raw(b"this is not http\r\n\r\n").await, raw(b"").await);
    let cut = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let hosts = vec![host(vec![
        route("/garbage", to("garbage")),
        route("/closed", to("closed")),
        route("/cut", to("cut")),
    ])];
    let clusters = vec![cluster("garbage", &[garbage]), cluster("closed", &[closed]), cluster("cut", &[cut])];
    let gateway = Gateway::plain(hosts, clusters).await;
    assert_eq!(get(gateway.address, "/garbage").await.status.as_u16(), 502);
    assert_eq!(get(gateway.address, "/closed").await.status.as_u16(), 503);
    let request = Request::get("/cut").header("host", "a").body(full("")).unwrap();
    assert!(Client::http1(gateway.address).await.try_send(request).await.is_err());
}

#[tokio::test]
async fn a_limit_on_retries_holds_under_a_storm() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let bad = Origin::start(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Response::builder().status(503).body(full("")).unwrap()
        }
    })
    .await;
    let hosts = vec![host(vec![route("/", with(retrying("5xx", 5)))])];
    let gateway = Gateway::plain(hosts, vec![cluster("one", &[bad.address])]).await;
    let requests = (0..50).map(|_| tokio::spawn(get(gateway.address, "/")));
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap().status.as_u16(), 503);
    }
    // Three retries at a time for the whole cluster (Envoy's default).
    assert!(seen.load(Ordering::SeqCst) < 150, "{seen:?}");
    assert!(gateway.metric("envoy_cluster_upstream_rq_retry_overflow", "") > 0);
}
