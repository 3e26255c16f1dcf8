// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which host takes a request: clusters of clusters, hosts that a header names; limits of priorities and hosts.

use crate::{Worker, body_text, by_priority, cluster, endpoint, endpoints, get, run, server};
use futures::future::join_all;
use gateway_config::UpstreamProtocol::{Http1, Http2};
use gateway_config::{
    CircuitBreakers, Cluster, ClusterLimits, Discovery, EndpointHealth, LoadBalancing, RoutingPriority,
};
use gateway_upstream::{PickContext, PickError, SendErrorKind};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::spawn_local;

/// How often each of the clusters `a`, `b` takes a request, whose hosts have these healths.
fn taken(a: &[EndpointHealth], b: &[EndpointHealth]) -> Result<BTreeMap<String, usize>, PickError> {
    let names = ["a".into(), "b".into(), "unknown".into()];
    let worker = Worker::new(Cluster::new("c", Discovery::Aggregate(names.into())), endpoints(&[]));
    for (name, octet, healths) in [("a", 1, a), ("b", 2, b)] {
        let list = (1..).zip(healths).map(|(last, health)| {
            let mut made = endpoint(([127, 0, octet, last], 80).into());
            made.health = *health;
            made
        });
        let discovery = Discovery::Static(Arc::new(by_priority([list.collect()])));
        worker.snapshot.borrow_mut().clusters.insert(name, Arc::new(Cluster::new(name, discovery)));
    }
    let snapshot = worker.snapshot.borrow();
    let mut seen = BTreeMap::new();
    for _ in 0..2000 {
        let picked = worker.upstreams.pick(&snapshot, "c", &PickContext::default())?;
        *seen.entry(picked.cluster().name.to_string()).or_default() += 1;
    }
    Ok(seen)
}

#[test]
fn the_first_cluster_that_can_takes_requests() {
    use EndpointHealth::{Degraded, Healthy, Unhealthy};
    run(async {
        for (a, b, share_of_a) in [
            (&[Healthy, Healthy][..], &[Healthy][..], 2000),
            (&[Unhealthy], &[Healthy], 0),
            (&[], &[Healthy], 0),
            // Half of it is good for 70 %.
            (&[Healthy, Unhealthy], &[Healthy], 1400),
            (&[Degraded], &[Healthy], 0),
            (&[Degraded], &[Unhealthy], 2000),
            (&[Healthy, Unhealthy], &[Unhealthy], 2000),
        ] {
            let seen = taken(a, b).unwrap();
            let of_a = seen.get("a").copied().unwrap_or_default();
            assert!(of_a.abs_diff(share_of_a) < 120, "{a:?} {b:?}: {seen:?}");
            assert_eq!(seen.values().sum::<usize>(), 2000);
        }
        assert_eq!(taken(&[], &[]).unwrap_err(), PickError::NoHealthy);
    });
}

#[test]
fn clusters_that_name_themselves_end() {
    run(async {
        let discovery = Discovery::Aggregate(["c".into()].into());
        let worker = Worker::new(Cluster::new("c", discovery), endpoints(&[]));
        let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default());
        assert_eq!(picked.unwrap_err(), PickError::NoHealthy);
    });
}

#[test]
fn a_header_names_the_host() {
    run(async {
        let hosts: Vec<_> = (1..=3).map(|octet| ([127, 0, 0, octet], 80).into()).collect();
        let balancing =
            LoadBalancing { overrides: ["x-endpoint".parse().unwrap()].into(), ..LoadBalancing::default() };
        let mut all = endpoints(&hosts);
        all.localities[0].endpoints[2].health = EndpointHealth::Unhealthy;
        let worker = Worker::new(Cluster { balancing, ..cluster(Http1) }, all);
        let snapshot = worker.snapshot.borrow();
        let pick = |value: &str, tried: &[Arc<gateway_upstream::HostState>]| {
            let headers = HeaderMap::from_iter([("x-endpoint".parse().unwrap(), value.parse().unwrap())]);
            let context = PickContext { headers: Some(&headers), tried, ..PickContext::default() };
            worker.upstreams.pick(&snapshot, "c", &context).unwrap()
        };
        for _ in 0..4 {
            assert_eq!(pick("127.0.0.2:80", &[]).address().to_string(), "127.0.0.2:80");
            // An unhealthy one and one that is none of the cluster's are passed over.
            let named = pick("127.0.0.3:80, 10.0.0.1:80, 127.0.0.1:80", &[]);
            assert_eq!(named.address().to_string(), "127.0.0.1:80");
            // A retry goes to the next.
            let next = pick("127.0.0.1:80,127.0.0.2:80", &[Arc::clone(named.host())]);
            assert_eq!(next.address().to_string(), "127.0.0.2:80");
        }
        let mut others: Vec<String> = (0..4).map(|_| pick("nothing", &[]).address().to_string()).collect();
        others.sort();
        others.dedup();
        assert_eq!(others, ["127.0.0.1:80", "127.0.0.2:80"], "the policy decides");
    });
}

#[test]
fn important_requests_have_their_own_limits_and_connections() {
    run(async {
        let server = server::start(true, 1).await;
        let one = CircuitBreakers { max_requests: 1, ..CircuitBreakers::default() };
        let limits = ClusterLimits { default: one, high: one, host_connections: None };
        let worker = Worker::new(Cluster { limits, ..cluster(Http2) }, endpoints(&[server.address]));
        let high = PickContext { priority: RoutingPriority::High, ..PickContext::default() };
        let held = worker.send(get("/long")).await.unwrap();
        assert_eq!(worker.send(get("/")).await.unwrap_err().kind, SendErrorKind::Overflow);
        let held_high = worker.send_as(get("/long"), &high).await.unwrap();
        assert_eq!(worker.send_as(get("/"), &high).await.unwrap_err().kind, SendErrorKind::Overflow);
        assert_eq!(server.connections(), 2);
        drop((held, held_high));
        for _ in 0..3 {
            body_text(worker.send(get("/")).await.unwrap()).await;
            body_text(worker.send_as(get("/"), &high).await.unwrap()).await;
        }
        for gauge in ["upstream_rq_active", "upstream_rq_pending_active"] {
            assert_eq!(worker.metric(gauge), 0, "{gauge}");
        }
        assert_eq!((server.connections(), worker.metric("upstream_cx_active")), (2, 2));
    });
}

#[test]
fn a_host_has_its_own_limit_of_connections() {
    run(async {
        let server = server::start(false, 2).await;
        let limits = ClusterLimits { host_connections: Some(2), ..ClusterLimits::default() };
        let worker =
            std::rc::Rc::new(Worker::new(Cluster { limits, ..cluster(Http1) }, endpoints(&[server.address])));
        let jobs = (0..8).map(|_| {
            let worker = std::rc::Rc::clone(&worker);
            spawn_local(async move { body_text(worker.send(get("/wait")).await.unwrap()).await })
        });
        join_all(jobs).await;
        assert_eq!((server.connections(), server.requests()), (2, 8));
        assert!(worker.metric("upstream_cx_overflow") > 0);
        let host = worker.registry.cluster("c").hosts().remove(0);
        assert_eq!(host.numbers.cx_active.get(), 2);
    });
}
