// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Circuit breakers.

use crate::{Worker, cluster, endpoints, get, run, server};
use futures::future::join_all;
use gateway_config::UpstreamProtocol::{Http1, Http2};
use gateway_config::{CircuitBreakers, Cluster, ClusterLimits, RetryBudget};
use gateway_upstream::{PickContext, SendErrorKind};
use tokio::task::spawn_local;

fn limited(limits: CircuitBreakers) -> Cluster {
    Cluster { limits: ClusterLimits { default: limits, ..ClusterLimits::default() }, ..cluster(Http1) }
}

#[test]
fn requests_beyond_the_limit_are_refused() {
    run(async {
        let server = server::start(true, 1).await;
        let limits = CircuitBreakers { max_requests: 1, ..CircuitBreakers::default() };
        let worker =
            Worker::new(Cluster { protocol: Http2, ..limited(limits) }, endpoints(&[server.address]));
        let held = worker.send(get("/long")).await.unwrap();
        let error = worker.send(get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.sent, error.request.is_some()), (SendErrorKind::Overflow, false, true));
        assert_eq!(worker.metric("upstream_rq_pending_overflow"), 1);
        drop(held);
        worker.text("/").await;
    });
}

#[test]
fn a_request_waits_for_a_connection_where_no_more_may_open() {
    run(async {
        let server = server::start(false, 1).await;
        let limits = CircuitBreakers { max_connections: 1, ..CircuitBreakers::default() };
        let worker = Worker::new(limited(limits), endpoints(&[server.address]));
        let answers = join_all((0..10).map(|_| worker.text("/"))).await;
        assert_eq!((answers.len(), server.connections()), (10, 1));
        assert!(worker.metric("upstream_cx_overflow") > 0);
        assert_eq!(worker.metric("upstream_rq_pending_active"), 0);
    });
}

#[test]
fn requests_that_would_wait_are_refused_beyond_the_limit() {
    run(async {
        let server = server::start(false, 1).await;
        let limits =
            CircuitBreakers { max_connections: 1, max_pending_requests: 1, ..CircuitBreakers::default() };
        let worker = Worker::new(limited(limits), endpoints(&[server.address]));
        let held = worker.send(get("/long")).await.unwrap();
        let (waits, refused) = tokio::join!(worker.send(get("/")), async {
            let error = worker.send(get("/")).await.unwrap_err();
            drop(held);
            error
        });
        assert_eq!(refused.kind, SendErrorKind::Overflow);
        // The held connection was cut off: the request that waited gets a new one.
        assert_eq!(crate::body_text(waits.unwrap()).await, server.address.to_string());
    });
}

#[test]
fn a_request_that_stops_waiting_does_not_take_a_connection_with_it() {
    run(async {
        let server = server::start(false, 1).await;
        let limits = CircuitBreakers { max_connections: 1, ..CircuitBreakers::default() };
        let worker = std::rc::Rc::new(Worker::new(limited(limits), endpoints(&[server.address])));
        let held = worker.send(get("/")).await.unwrap();
        let other = std::rc::Rc::clone(&worker);
        let waits = spawn_local(async move { other.send(get("/")).await.map(drop) });
        tokio::task::yield_now().await;
        assert_eq!(worker.metric("upstream_rq_pending_active"), 1);
        waits.abort();
        let _ = waits.await;
        assert_eq!(worker.metric("upstream_rq_pending_active"), 0);
        crate::body_text(held).await;
        worker.text("/").await;
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn retries_are_limited() {
    run(async {
        let server = server::start(false, 1).await;
        let worker = Worker::new(
            limited(CircuitBreakers { max_retries: 1, ..CircuitBreakers::default() }),
            endpoints(&[server.address]),
        );
        let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default()).unwrap();
        let permit = picked.permit_retry();
        assert!(permit.is_some() && picked.permit_retry().is_none());
        assert_eq!((worker.metric("upstream_rq_retry"), worker.metric("upstream_rq_retry_overflow")), (1, 1));
        drop(permit);
        assert!(picked.permit_retry().is_some());
    });
}

#[test]
fn retries_follow_the_budget() {
    let budget = RetryBudget { hundredths: 2500, min_concurrency: 2 };
    let limits =
        CircuitBreakers { max_retries: 99, retry_budget: Some(budget), ..CircuitBreakers::default() };
    for (requests, expected) in [(0, 2), (8, 2), (12, 3), (400, 100), (u64::MAX, u32::MAX)] {
        assert_eq!(limits.retries(requests), expected, "{requests} requests");
    }
    assert_eq!(CircuitBreakers::default().retries(1000), 3);
}
