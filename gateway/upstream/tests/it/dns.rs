// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters whose endpoints are host names.

use crate::{Worker, cluster, run, server};
use gateway_config::UpstreamProtocol::Http1;
use gateway_config::{
    Cluster, Discovery, DnsFamily, DnsSettings, Endpoint, EndpointAddress, Endpoints, Locality, Place,
};
use gateway_upstream::{PickContext, PickError};
use std::sync::Arc;
use std::time::Duration;

fn named(host: &str, port: u16) -> Arc<Endpoints> {
    let locality = Locality {
        place: Place::default(),
        priority: 0,
        weight: None,
        endpoints: [Endpoint::new(EndpointAddress::Name { host: host.into(), port })].into(),
    };
    Arc::new(Endpoints { cluster: "c".into(), localities: [locality].into(), overprovisioning: 140 })
}

const DNS: DnsSettings = DnsSettings {
    refresh: Duration::from_millis(20),
    failure_refresh: None,
    jitter: Duration::ZERO,
    family: DnsFamily::V4,
};

async fn kept_up(discovery: Discovery) -> Worker {
    let worker = Worker::new(Cluster { discovery, ..cluster(Http1) }, Endpoints::default());
    let snapshot = Arc::new(worker.snapshot.borrow().clone());
    worker.registry.keep_up(&snapshot).await;
    worker
}

#[test]
fn names_are_resolved_before_the_first_request() {
    run(async {
        let server = server::start(false, 1).await;
        let port = server.address.port();
        for discovery in [
            Discovery::StrictDns(named("localhost", port), DNS),
            Discovery::LogicalDns(named("localhost", port), DNS),
        ] {
            let worker = kept_up(discovery).await;
            assert_eq!(worker.text("/").await, server.address.to_string());
            crate::until("it is resolved again", || worker.metric("update_success") > 2).await;
            worker.text("/").await;
            // The same addresses are the same endpoints: the connection stays.
            assert_eq!((worker.metric("upstream_cx_total"), worker.metric("membership_change")), (1, 1));
        }
    });
}

#[test]
fn a_name_that_does_not_resolve_has_no_endpoint() {
    run(async {
        let worker = kept_up(Discovery::StrictDns(named("name.invalid", 80), DNS)).await;
        crate::until("it was asked for", || worker.metric("update_failure") > 0).await;
        let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default());
        assert_eq!(picked.unwrap_err(), PickError::NoHealthy);
    });
}
