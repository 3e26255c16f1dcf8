// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP/2: many requests on one connection, more connections where one is full.

use crate::{Worker, cluster, endpoints, get, run, server};
use futures::future::join_all;
use gateway_config::UpstreamProtocol::{Downstream, Http2};
use http::Version;

#[test]
fn one_connection_serves_many_requests_at_once() {
    run(async {
        let server = server::start(true, 50).await;
        let worker = Worker::new(cluster(Http2), endpoints(&[server.address]));
        let answers = join_all((0..50).map(|_| worker.text("/wait"))).await;
        assert_eq!(answers.len(), 50);
        assert_eq!((server.connections(), server.requests()), (1, 50));
        assert_eq!((worker.metric("upstream_cx_http2_total"), worker.metric("upstream_rq_active")), (1, 0));
    });
}

#[test]
fn another_connection_opens_when_one_is_full() {
    run(async {
        let server = server::start(true, 6).await;
        let mut settings = cluster(Http2);
        settings.connection.max_concurrent_streams = Some(2);
        let worker = Worker::new(settings, endpoints(&[server.address]));
        // All six wait for each other: they are only answered where all are on their way at once.
        join_all((0..6).map(|_| worker.text("/wait"))).await;
        assert_eq!(server.connections(), 3);
    });
}

#[test]
fn the_clients_protocol_is_kept_where_asked() {
    run(async {
        let server = server::start(true, 1).await;
        let worker = Worker::new(cluster(Downstream), endpoints(&[server.address]));
        let mut request = get("/");
        *request.version_mut() = Version::HTTP_2;
        let response = worker.send(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let plain = server::start(false, 1).await;
        worker.set(cluster(Downstream), endpoints(&[plain.address]));
        assert_eq!(worker.send(get("/")).await.unwrap().version(), Version::HTTP_11);
    });
}

#[test]
fn a_stream_that_is_given_up_leaves_the_connection_to_others() {
    run(async {
        let server = server::start(true, 1).await;
        let worker = Worker::new(cluster(Http2), endpoints(&[server.address]));
        drop(worker.send(get("/long")).await.unwrap());
        for _ in 0..5 {
            worker.text("/").await;
        }
        assert_eq!((server.connections(), worker.metric("upstream_rq_active")), (1, 0));
    });
}
