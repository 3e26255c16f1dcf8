// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Hosts that fail: the next host, ejection and return, panic, priorities.

use crate::{Worker, by_priority, closed_address, cluster, endpoint, endpoints, get, run, server, until};
use gateway_config::UpstreamProtocol::Http1;
use gateway_config::{Cluster, EndpointHealth, LoadBalancing, OutlierDetection, RateDetection, SuccessRate};
use gateway_upstream::{PickContext, PickError, SendErrorKind};
use std::time::Duration;

fn outliers(time: Duration) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: Some(3),
        consecutive_gateway_failure: None,
        split_local_origin: false,
        consecutive_local_origin_failure: None,
        interval: Duration::from_secs(10),
        base_ejection_time: time,
        max_ejection_time: Duration::from_secs(300),
        max_ejection_percent: 50,
        ..OutlierDetection::default()
    }
}

fn with_threshold(percent: u8) -> Cluster {
    let balancing = LoadBalancing { panic_threshold: percent, ..LoadBalancing::default() };
    Cluster { balancing, ..cluster(Http1) }
}

fn judged(time: Duration) -> Cluster {
    Cluster { outlier_detection: Some(outliers(time)), ..cluster(Http1) }
}

#[test]
fn a_refused_connection_gives_the_request_back_for_another_host() {
    run(async {
        let (dead, alive) = (closed_address().await, server::start(false, 1).await);
        let worker = Worker::new(cluster(Http1), endpoints(&[dead, alive.address]));
        let snapshot = worker.snapshot.borrow().clone();
        for _ in 0..4 {
            let mut picked = worker.upstreams.pick(&snapshot, "c", &PickContext::default()).unwrap();
            let mut request = get("/");
            if picked.address().to_string() == dead.to_string() {
                let error = worker.upstreams.send(&picked, request).await.unwrap_err();
                assert_eq!((error.kind, error.sent), (SendErrorKind::Connect, false));
                request = *error.request.unwrap();
                let tried = [std::sync::Arc::clone(picked.host())];
                picked = worker
                    .upstreams
                    .pick(
                        &snapshot,
                        "c",
                        &PickContext { tried: &tried, attempts: 3, ..PickContext::default() },
                    )
                    .unwrap();
            }
            let response = worker.upstreams.send(&picked, request).await.unwrap();
            assert_eq!(crate::body_text(response).await, alive.address.to_string());
        }
        assert!(worker.metric("upstream_cx_connect_fail") >= 1);
    });
}

#[test]
fn a_host_that_keeps_failing_is_ejected_and_comes_back() {
    run(async {
        let (bad, good) = (server::start(false, 1).await, server::start(false, 1).await);
        let worker = Worker::new(judged(Duration::from_millis(300)), endpoints(&[bad.address, good.address]));
        let snapshot = worker.snapshot.borrow().clone();
        let mut failures = 0;
        while failures < 3 {
            let picked = worker.upstreams.pick(&snapshot, "c", &PickContext::default()).unwrap();
            let failing = picked.address().to_string() == bad.address.to_string();
            failures += usize::from(failing);
            worker.upstreams.send(&picked, get(if failing { "/status/500" } else { "/" })).await.unwrap();
        }
        assert_eq!(worker.metric("outlier_detection_ejections_active"), 1);
        for _ in 0..6 {
            assert_eq!(worker.text("/").await, good.address.to_string());
        }
        assert_eq!(worker.metric("membership_healthy"), 1);
        for _ in 0..100 {
            if worker.text("/").await == bad.address.to_string() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            (worker.metric("outlier_detection_ejections_active"), worker.metric("membership_healthy")),
            (0, 2)
        );
        assert_eq!(worker.metric("outlier_detection_ejections_enforced_total"), 1);
    });
}

#[test]
fn an_ejection_ends_without_requests_too() {
    run(async {
        let (bad, good) = (server::start(false, 1).await, server::start(false, 1).await);
        let worker = Worker::new(judged(Duration::from_millis(300)), endpoints(&[bad.address, good.address]));
        while worker.metric("outlier_detection_ejections_active") == 0 {
            worker.send(get("/status/500")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        let shown = worker.registry.clusters();
        assert!(shown.iter().flat_map(|cluster| cluster.hosts()).all(|host| !host.is_ejected()));
        assert_eq!(worker.metric("outlier_detection_ejections_active"), 0);
    });
}

#[test]
fn failures_without_an_answer_can_be_counted_apart() {
    run(async {
        let (dead, failing) = (closed_address().await, server::start(false, 1).await);
        let apart = OutlierDetection {
            consecutive_5xx: None,
            split_local_origin: true,
            consecutive_local_origin_failure: Some(3),
            ..outliers(Duration::from_secs(60))
        };
        let settings = Cluster { outlier_detection: Some(apart), ..cluster(Http1) };
        let worker = Worker::new(settings, endpoints(&[dead, failing.address]));
        let mut refused = 0;
        for _ in 0..20 {
            refused += u32::from(worker.send(get("/status/503")).await.is_err());
        }
        // The dead host is out after three failures; the other one answers, badly, and stays.
        assert_eq!((refused, worker.metric("outlier_detection_ejections_active")), (3, 1));
        assert_eq!(worker.metric("upstream_rq_5xx"), 17);
    });
}

#[test]
fn ejection_survives_a_change_of_other_endpoints() {
    run(async {
        let (dead, good, new) =
            (closed_address().await, server::start(false, 1).await, server::start(false, 1).await);
        let worker = Worker::new(judged(Duration::from_secs(60)), endpoints(&[dead, good.address]));
        for _ in 0..10 {
            let _ = worker.send(get("/")).await;
        }
        assert_eq!(worker.metric("outlier_detection_ejections_active"), 1);
        worker.set(judged(Duration::from_secs(60)), endpoints(&[dead, good.address, new.address]));
        for _ in 0..6 {
            assert_ne!(worker.text("/").await, dead.to_string());
        }
        assert_eq!(worker.metric("outlier_detection_ejections_active"), 1);
    });
}

#[test]
fn not_more_than_the_allowed_share_is_ejected() {
    run(async {
        let dead =
            [closed_address().await, closed_address().await, closed_address().await, closed_address().await];
        let worker = Worker::new(judged(Duration::from_secs(60)), endpoints(&dead));
        for _ in 0..40 {
            assert_eq!(worker.send(get("/")).await.unwrap_err().kind, SendErrorKind::Connect);
        }
        assert_eq!(worker.metric("outlier_detection_ejections_active"), 2);
        assert!(worker.metric("outlier_detection_ejections_overflow") > 0);
    });
}

#[test]
fn a_cluster_without_hosts_says_so() {
    run(async {
        let worker = Worker::new(cluster(Http1), endpoints(&[]));
        let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default());
        assert_eq!(picked.unwrap_err(), PickError::NoHealthy);
        assert_eq!(worker.metric("upstream_cx_none_healthy"), 1);
    });
}

#[test]
fn the_next_priority_takes_over_and_panic_is_the_last_resort() {
    run(async {
        let (first, second) = (server::start(false, 1).await, server::start(false, 1).await);
        let mut down = endpoint(first.address);
        down.health = EndpointHealth::Unhealthy;
        let worker =
            Worker::new(cluster(Http1), by_priority([vec![down.clone()], vec![endpoint(second.address)]]));
        for _ in 0..5 {
            assert_eq!(worker.text("/").await, second.address.to_string());
        }
        assert_eq!(worker.metric("lb_healthy_panic"), 0);
        worker.set(cluster(Http1), by_priority([vec![down.clone()]]));
        assert_eq!(worker.text("/").await, first.address.to_string());
        assert_eq!(worker.metric("lb_healthy_panic"), 1);
        worker.set(with_threshold(0), by_priority([vec![down]]));
        let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default());
        assert_eq!(picked.unwrap_err(), PickError::NoHealthy);
    });
}

#[test]
fn connecting_is_limited_in_time() {
    run(async {
        // A TEST-NET address would need a network; a listener whose backlog is full answers nobody.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let connecting =
                tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address))
                    .await;
            waiting.push(connecting);
        }
        let worker = Worker::new(
            Cluster { connect_timeout: Duration::from_millis(200), ..cluster(Http1) },
            endpoints(&[address]),
        );
        let error = worker.send(get("/")).await.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::ConnectTimeout);
        assert_eq!(worker.metric("upstream_cx_connect_timeout"), 1);
        until("the attempt is no longer counted", || worker.metric("upstream_cx_active") == 0).await;
    });
}

#[test]
fn a_host_that_fails_more_than_the_others_is_ejected() {
    run(async {
        let mut servers = Vec::new();
        for _ in 0..5 {
            servers.push(server::start(false, 1).await);
        }
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        let rates = RateDetection {
            success_rate: Some(SuccessRate {
                enforcing: 100,
                minimum_hosts: 5,
                request_volume: 5,
                stdev_factor: 1900,
            }),
            failure_percentage: None,
        };
        let policy = OutlierDetection {
            consecutive_5xx: None,
            rates,
            interval: Duration::from_millis(300),
            ..outliers(Duration::from_secs(60))
        };
        let worker =
            Worker::new(Cluster { outlier_detection: Some(policy), ..cluster(Http1) }, endpoints(&addresses));
        let snapshot = std::sync::Arc::new(worker.snapshot.borrow().clone());
        worker.registry.keep_up(&snapshot).await;
        let bad = addresses[2].to_string();
        for _ in 0..500 {
            let picked = worker.upstreams.pick(&snapshot, "c", &PickContext::default()).unwrap();
            let path = if picked.address().to_string() == bad { "/status/500" } else { "/" };
            crate::body_text(worker.upstreams.send(&picked, get(path)).await.unwrap()).await;
            if worker.metric("outlier_detection_ejections_active") > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(worker.metric("outlier_detection_ejections_enforced_success_rate"), 1);
        for _ in 0..10 {
            assert_ne!(worker.text("/").await, bad);
        }
    });
}
