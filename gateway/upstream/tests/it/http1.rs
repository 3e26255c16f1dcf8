// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP/1.1: reuse, stale connections, answers that are given up, changes of endpoints.

use crate::{Worker, cluster, endpoints, get, run, server, until};
use gateway_config::UpstreamProtocol::Http1;
use gateway_upstream::{PickContext, SendErrorKind};
use http_body_util::BodyExt;
use std::time::Duration;

#[test]
fn a_connection_serves_one_request_after_another() {
    run(async {
        let server = server::start(false, 1).await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        for _ in 0..10 {
            assert_eq!(worker.text("/").await, server.address.to_string());
        }
        assert_eq!((server.connections(), server.requests()), (1, 10));
        assert_eq!((worker.metric("upstream_cx_total"), worker.metric("upstream_cx_active")), (1, 1));
        assert_eq!(
            (
                worker.metric("upstream_rq_total"),
                worker.metric("upstream_rq_active"),
                worker.metric("upstream_rq_2xx")
            ),
            (10, 0, 10)
        );
    });
}

#[test]
fn connections_that_the_server_closed_meanwhile_cost_no_request() {
    run(async {
        // Promises to keep the connection, then closes it.
        let server = server::start_raw(|mut stream| async move {
            if server::read_head(&mut stream).await {
                server::answer(&mut stream, "once").await;
            }
        })
        .await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        for round in 0..20 {
            assert_eq!(worker.text("/").await, "once");
            until("the closed connection is noticed", || worker.metric("upstream_cx_active") == 0).await;
            assert_eq!(server.connections(), round + 1);
        }
    });
}

#[test]
fn a_request_that_was_sent_is_not_repeated() {
    run(async {
        let server = server::start_raw(|mut stream| async move {
            server::read_head(&mut stream).await;
        })
        .await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        let error = worker.send(get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (SendErrorKind::Reset, true));
        assert!(error.request.is_none());
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn an_answer_that_is_given_up_closes_its_connection() {
    run(async {
        let server = server::start(false, 1).await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        let response = worker.send(get("/long")).await.unwrap();
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(worker.metric("upstream_rq_active"), 1);
        drop(body);
        assert_eq!(worker.metric("upstream_rq_active"), 0);
        until("the connection is closed", || worker.metric("upstream_cx_active") == 0).await;
        assert_eq!(worker.text("/").await, server.address.to_string());
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn a_request_that_is_given_up_leaves_nothing_behind() {
    run(async {
        let server = server::start(false, 2).await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        let sent = tokio::time::timeout(Duration::from_millis(200), worker.send(get("/wait"))).await;
        assert!(sent.is_err());
        assert_eq!(worker.metric("upstream_rq_active"), 0);
        until("its connection is closed", || worker.metric("upstream_cx_active") == 0).await;
    });
}

#[test]
fn idle_connections_close() {
    run(async {
        let server = server::start(false, 1).await;
        let mut settings = cluster(Http1);
        settings.connection.idle_timeout = Some(Duration::from_millis(100));
        let worker = Worker::new(settings, endpoints(&[server.address]));
        worker.text("/").await;
        until("the idle connection is closed", || server.open() == 0).await;
    });
}

#[test]
fn a_connection_ends_after_its_number_of_requests() {
    run(async {
        let server = server::start(false, 1).await;
        let mut settings = cluster(Http1);
        settings.connection.max_requests = Some(2);
        let worker = Worker::new(settings, endpoints(&[server.address]));
        for _ in 0..6 {
            worker.text("/").await;
        }
        assert_eq!(server.connections(), 3);
    });
}

#[test]
fn endpoints_that_stay_keep_their_connections_and_others_drain() {
    run(async {
        let (stays, goes) = (server::start(false, 1).await, server::start(false, 1).await);
        let worker = Worker::new(cluster(Http1), endpoints(&[stays.address, goes.address]));
        worker.text("/").await;
        worker.text("/").await;
        assert_eq!((stays.connections(), goes.connections()), (1, 1));

        let snapshot = worker.snapshot.borrow().clone();
        let old = (0..2)
            .map(|_| worker.upstreams.pick(&snapshot, "c", &PickContext::default()).unwrap())
            .find(|p| p.address().to_string() == goes.address.to_string());
        worker.set(cluster(Http1), endpoints(&[stays.address]));
        for _ in 0..4 {
            assert_eq!(worker.text("/").await, stays.address.to_string());
        }
        assert_eq!(stays.connections(), 1);
        until("the removed endpoint's idle connection is closed", || goes.open() == 0).await;
        // A request that was picked before the change still goes through.
        let response = worker.upstreams.send(&old.unwrap(), get("/")).await.unwrap();
        assert_eq!(crate::body_text(response).await, goes.address.to_string());
        until("its connection is not kept", || goes.open() == 0).await;
    });
}

#[test]
fn a_removed_cluster_drains_and_is_forgotten() {
    run(async {
        let server = server::start(false, 1).await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        worker.text("/").await;
        worker.snapshot.borrow_mut().clusters.remove("c");
        worker.upstreams.retain(&worker.snapshot.borrow());
        until("its connection is closed", || server.open() == 0).await;
        assert!(worker.registry.clusters().is_empty());
        let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default());
        assert_eq!(picked.unwrap_err(), gateway_upstream::PickError::NoCluster);
    });
}
