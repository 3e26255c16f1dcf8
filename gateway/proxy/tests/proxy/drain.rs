// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Replacement without loss: drains, listeners that come, change and go.

use crate::client::{Client, raw};
use crate::config::{chain, cluster, host, http, http2_cluster, listener, listener_named, route, to};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, full};
use gateway_proxy::{DrainOptions, NotReady, Proxy, ProxyOptions};
use gateway_xds_api::ResourceType;
use http::{Request, Response};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicUsize,
    /// Requests without an answer, by number, with the reason.
    unanswered: Mutex<Vec<(usize, String)>>,
    next: AtomicUsize,
}

/// Sends requests one after the other over kept connections, as a load balancer's client does: a connection that announced its end is
/// left, a new one is made while `healthy` says so.
fn load(address: SocketAddr, http2: bool, healthy: &Arc<AtomicBool>, seen: &Arc<Seen>) -> JoinHandle<()> {
    let (healthy, seen) = (Arc::clone(healthy), Arc::clone(seen));
    tokio::spawn(async move {
        while healthy.load(Ordering::SeqCst) {
            let mut client = if http2 { Client::http2(address).await } else { Client::http1(address).await };
            loop {
                let ready = match &mut client {
                    Client::Http1(sender) => sender.ready().await,
                    Client::Http2(sender) => sender.ready().await,
                };
                if ready.is_err() {
                    break;
                }
                let number = seen.next.fetch_add(1, Ordering::SeqCst);
                let request =
                    if http2 { Request::get("http://a/") } else { Request::get("/").header("host", "a") };
                match client.try_send(request.header("x-number", number).body(full("")).unwrap()).await {
                    Ok(answer) if answer.status == 200 && answer.body == "ok" => {
                        seen.answered.fetch_add(1, Ordering::SeqCst);
                        if answer.header("connection") == Some("close") {
                            break;
                        }
                    }
                    other => {
                        seen.unanswered.lock().push((number, format!("http2 {http2}: {other:?}")));
                        break;
                    }
                }
            }
        }
    })
}

// One thread for all clients: hyper's HTTP/2 client, when a GOAWAY comes in between on another thread, gives up a request that it has
// sent already.
#[tokio::test]
async fn a_drain_under_load_loses_nothing() {
    let handled = Arc::new(Mutex::new(HashSet::new()));
    let numbers = Arc::clone(&handled);
    let origin = Origin::start(move |request| {
        let number: usize = request.headers()["x-number"].to_str().unwrap().parse().unwrap();
        numbers.lock().insert(number);
        async {
            tokio::time::sleep(Duration::from_millis(15)).await;
            Response::new(full("ok"))
        }
    })
    .await;
    for (round, cluster) in
        [cluster("one", &[origin.address]), http2_cluster("one", &[origin.address])].into_iter().enumerate()
    {
        handled.lock().clear();
        let gateway = Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster]).await;
        let (healthy, seen) = (Arc::new(AtomicBool::new(true)), Arc::new(Seen::default()));
        let clients: Vec<_> =
            (0..40).map(|index| load(gateway.address, index % 2 == 0, &healthy, &seen)).collect();
        gateway.until("load", |_| seen.answered.load(Ordering::SeqCst) > 400).await;
        let notice = {
            let healthy = Arc::clone(&healthy);
            async move {
                // The balancer notices a little after readiness failed.
                tokio::time::sleep(Duration::from_millis(100)).await;
                healthy.store(false, Ordering::SeqCst);
            }
        };
        let (report, ()) = tokio::join!(gateway.proxy.drain(Duration::from_secs(10)), notice);
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(report.forced, 0, "round {round}: {report:?}");
        // A stream that crossed a GOAWAY was not sent or not handled: the client knows, and sends it elsewhere.
        for (number, why) in seen.unanswered.lock().iter() {
            let unsent = ["GoAway(b\"\", NO_ERROR, Remote)", "Canceled", "ChannelClosed"]
                .iter()
                .any(|reason| why.contains(reason));
            let crossed = why.contains("http2 true") && unsent;
            assert!(crossed && !handled.lock().contains(number), "round {round}, request {number}: {why}");
        }
        assert_eq!(handled.lock().len(), seen.answered.load(Ordering::SeqCst), "round {round}");
        assert_eq!(gateway.proxy.connections(), 0);
        assert_eq!(gateway.proxy.ready().await, Err(NotReady::Draining));
        assert!(TcpStream::connect(gateway.address).await.is_err(), "still listening");
    }
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_its_client_told_to_leave() {
    let origin = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        Response::new(full("late"))
    })
    .await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let address = gateway.address;
    let request = tokio::spawn(async move { raw(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await });
    gateway.until("the request is there", |_| origin.count() == 1).await;
    let report = gateway.proxy.drain(Duration::from_secs(5)).await;
    let (answer, closed) = request.await.unwrap();
    assert!(
        answer.ends_with("late") && answer.to_ascii_lowercase().contains("connection: close") && closed,
        "{answer}"
    );
    assert_eq!(report.forced, 0);
}

#[tokio::test]
async fn what_does_not_end_is_cut_at_the_deadline() {
    let origin = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Response::new(full(""))
    })
    .await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let address = gateway.address;
    let request = tokio::spawn(async move { raw(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await });
    gateway.until("the request is there", |_| origin.count() == 1).await;
    let report = gateway.proxy.drain(Duration::from_millis(500)).await;
    assert_eq!(report.forced, 1);
    assert!(report.took < Duration::from_secs(2), "{report:?}");
    assert_eq!(gateway.metric("gatefleet_http_drain_forced", ""), 1);
    drop(request.await);
}

#[tokio::test]
async fn listeners_come_change_and_go_by_themselves() {
    let origin = Origin::named("one").await;
    let mut gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let second = listener_named("listener/81", vec![chain(&http(vec![host(vec![route("/", to("one"))])]))]);
    gateway.change(&second).await;
    let both = gateway.proxy.listeners();
    assert_eq!(
        both.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>(),
        ["listener/80", "listener/81"]
    );
    let mut kept = Client::http1(both[0].address).await;
    let mut left = Client::http1(both[1].address).await;
    assert_eq!((kept.get("/").await.body.as_str(), left.get("/").await.body.as_str()), ("one", "one"));
    let snapshot = gateway.resources.remove(ResourceType::Listener, "listener/81");
    gateway.proxy.install(snapshot).await.unwrap();
    let answer = left.get("/").await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("one", Some("close")));
    let answer = kept.get("/").await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("one", None));
    gateway.until("the port is free", |gateway| gateway.proxy.listeners().len() == 1).await;
    let limit = tokio::time::Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(both[1].address).await.is_ok() {
        assert!(tokio::time::Instant::now() < limit, "still listening");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_stops_nobody_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let options = ProxyOptions { bind: [("listener/81".to_owned(), address)].into(), ..options() };
    let origin = Origin::named("one").await;
    let mut resources = crate::config::Resources::default();
    resources.clusters([cluster("one", &[origin.address])]);
    let hosts = || http(vec![host(vec![route("/", to("one"))])]);
    let mut gateway = Gateway::start(options, resources, &listener(vec![chain(&hosts())])).await;
    let snapshot = gateway.resources.listener(&listener_named("listener/81", vec![chain(&hosts())]));
    let error = gateway.proxy.install(Arc::clone(&snapshot)).await.unwrap_err();
    assert!(
        error.to_string().contains(&address.to_string()) && error.to_string().contains("listener/81"),
        "{error}"
    );
    assert_eq!(gateway.proxy.ready().await, Ok(()));
    assert_eq!(Client::http1(gateway.address).await.get("/").await.body, "one");
    drop(taken);
    gateway.proxy.install(snapshot).await.unwrap();
    assert_eq!(Client::http1(address).await.get("/").await.body, "one");
}

#[tokio::test]
async fn readiness_waits_for_configuration() {
    let drain = DrainOptions { accept_for: Duration::ZERO, ..DrainOptions::default() };
    let proxy = Proxy::start(ProxyOptions { workers: 1, drain, ..ProxyOptions::default() }).unwrap();
    assert_eq!(proxy.ready().await, Err(NotReady::NoConfiguration));
    proxy.install(Arc::default()).await.unwrap();
    assert_eq!(proxy.ready().await, Ok(()));
    assert_eq!(proxy.drain(Duration::from_secs(5)).await.forced, 0);
    assert_eq!(proxy.ready().await, Err(NotReady::Draining));
}
