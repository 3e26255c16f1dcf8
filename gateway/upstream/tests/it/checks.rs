// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Active health checks against real servers.

use crate::{Worker, closed_address, cluster, endpoint, endpoints, run, server, until};
use gateway_config::UpstreamProtocol::Http1;
use gateway_config::{
    CheckIntervals, Cluster, Endpoints, HealthCheck, HealthProbe, HttpProbe, LbMetadata, Locality,
    OutlierDetection, Place,
};
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const EVERY: Duration = Duration::from_millis(20);

fn check(probe: HealthProbe) -> HealthCheck {
    HealthCheck {
        timeout: Duration::from_millis(500),
        times: CheckIntervals {
            healthy: EVERY,
            unhealthy: EVERY,
            healthy_edge: EVERY,
            unhealthy_edge: EVERY,
            no_traffic: EVERY,
            no_traffic_healthy: EVERY,
            initial_jitter: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_percent: 0,
        },
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        alt_port: None,
        reuse_connection: true,
        log_failures: false,
        log_successes: false,
        socket_metadata: None,
        probe,
    }
}

fn http(path: &str, http2: bool) -> HealthProbe {
    HealthProbe::Http(Box::new(HttpProbe {
        method: Method::GET,
        path: path.parse().unwrap(),
        host: None,
        expected: Box::default(),
        retriable: Box::default(),
        headers: Box::default(),
        without: Box::default(),
        http2,
        send: Default::default(),
        receive: Box::default(),
        body_limit: 1024,
    }))
}

fn checked(probe: HealthProbe) -> Cluster {
    Cluster { health_checks: [check(probe)].into(), ..cluster(Http1) }
}

async fn keep_up(worker: &Worker) {
    let snapshot = Arc::new(worker.snapshot.borrow().clone());
    worker.registry.keep_up(&snapshot).await;
}

#[test]
fn an_unhealthy_host_gets_no_requests() {
    run(async {
        let (good, dead) = (server::start(false, 1).await, closed_address().await);
        let worker = Worker::new(checked(http("/", false)), endpoints(&[good.address, dead]));
        keep_up(&worker).await;
        for _ in 0..6 {
            assert_eq!(worker.text("/").await, good.address.to_string());
        }
        assert_eq!((worker.metric("membership_healthy"), worker.metric("health_check_healthy")), (1, 1));
        let before = good.connections();
        until("checks go on", || worker.metric("health_check_success") > 5).await;
        assert!(worker.metric("health_check_network_failure") >= 1);
        assert_eq!(good.connections(), before, "checks use one connection");
    });
}

#[test]
fn a_host_comes_back_after_enough_successes() {
    run(async {
        // Port taken, nothing accepted: checks run into their time limit until the server begins.
        let address = closed_address().await;
        let worker = Worker::new(
            checked(HealthProbe::Tcp { send: Default::default(), receive: Default::default() }),
            endpoints(&[address]),
        );
        keep_up(&worker).await;
        assert_eq!(worker.metric("health_check_healthy"), 0);
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let snapshot = worker.snapshot.borrow().clone();
        until("the host is healthy", || {
            let context = gateway_upstream::PickContext::default();
            worker.upstreams.pick(&snapshot, "c", &context).is_ok_and(|picked| !picked.host().failed_checks())
        })
        .await;
        assert!(worker.metric("health_check_success") >= 2);
    });
}

#[test]
fn an_unexpected_status_is_enough() {
    run(async {
        for http2 in [false, true] {
            let server = server::start(http2, 1).await;
            let worker = Worker::new(checked(http("/status/503", http2)), endpoints(&[server.address]));
            keep_up(&worker).await;
            assert_eq!(worker.metric("health_check_attempt"), worker.metric("health_check_failure"));
            assert_eq!(worker.metric("health_check_network_failure"), 0);
            let worker = Worker::new(checked(http("/", http2)), endpoints(&[server.address]));
            keep_up(&worker).await;
            assert!(worker.metric("health_check_success") >= 1);
        }
    });
}

#[test]
fn bytes_are_compared() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4];
                let _ = stream.read_exact(&mut asked).await;
                let _ = stream.write_all(if asked == *b"PING" { b"+PONG" } else { b"-WHAT" }).await;
            }
        });
        for (send, healthy) in [("PING", true), ("PONG", false)] {
            let probe =
                HealthProbe::Tcp { send: send.into(), receive: [bytes::Bytes::from_static(b"PONG")].into() };
            let worker = Worker::new(checked(probe), endpoints(&[address]));
            keep_up(&worker).await;
            assert_eq!(worker.metric("health_check_success") > 0, healthy, "{send}");
        }
    });
}

#[test]
fn a_check_goes_where_the_endpoint_says() {
    run(async {
        let (served, checks) = (server::start(false, 1).await, server::start(false, 1).await);
        let mut place = endpoint(served.address);
        place.check.port = Some(checks.address.port());
        let mut left_alone = endpoint(closed_address().await);
        left_alone.check.disabled = true;
        let locality = Locality {
            place: Place::default(),
            priority: 0,
            weight: None,
            socket_metadata: LbMetadata::default(),
            endpoints: [place, left_alone].into(),
        };
        let all = Endpoints { cluster: "c".into(), localities: [locality].into(), overprovisioning: 140 };
        let worker = Worker::new(checked(http("/", false)), all);
        keep_up(&worker).await;
        assert_eq!((served.requests(), checks.requests() > 0), (0, true));
        let _ = worker.send(crate::get("/")).await;
        assert_eq!(
            worker.metric("membership_healthy"),
            2,
            "an endpoint that is not checked counts as healthy"
        );
    });
}

#[test]
fn checks_end_with_their_cluster() {
    run(async {
        let server = server::start(false, 1).await;
        let worker = Worker::new(checked(http("/", false)), endpoints(&[server.address]));
        keep_up(&worker).await;
        worker.snapshot.borrow_mut().clusters.remove("c");
        keep_up(&worker).await;
        until("the connection of the checks is closed", || server.open() == 0).await;
        let before = server.requests();
        tokio::time::sleep(EVERY * 5).await;
        assert_eq!(server.requests(), before);
    });
}

#[test]
fn a_passed_check_ends_an_ejection() {
    run(async {
        let server = server::start(false, 1).await;
        for uneject_after_check in [true, false] {
            let policy = OutlierDetection {
                consecutive_5xx: Some(2),
                max_ejection_percent: 100,
                uneject_after_check,
                ..OutlierDetection::default()
            };
            let settings = Cluster { outlier_detection: Some(policy), ..checked(http("/", false)) };
            let worker = Worker::new(settings, endpoints(&[server.address]));
            keep_up(&worker).await;
            for _ in 0..2 {
                worker.send(crate::get("/status/500")).await.unwrap();
            }
            assert_eq!(worker.metric("outlier_detection_ejections_enforced_total"), 1);
            let before = worker.metric("health_check_success");
            until("checks pass", || worker.metric("health_check_success") > before + 2).await;
            let out = u64::from(!uneject_after_check);
            assert_eq!(worker.metric("outlier_detection_ejections_active"), out);
        }
    });
}
