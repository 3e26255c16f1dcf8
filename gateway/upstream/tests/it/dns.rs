// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters whose endpoints are host names.

use crate::dns_server::DnsServer;
use crate::{Worker, cluster, run, server};
use gateway_config::UpstreamProtocol::Http1;
use gateway_config::{
    Cluster, Discovery, DnsFamily, DnsServers, DnsSettings, Endpoint, EndpointAddress, Endpoints, LbMetadata,
    Locality, Place,
};
use gateway_upstream::{PickContext, PickError};
use std::sync::Arc;
use std::time::Duration;

fn named(host: &str, port: u16) -> Arc<Endpoints> {
    let locality = Locality {
        place: Place::default(),
        priority: 0,
        weight: None,
        socket_metadata: LbMetadata::default(),
        endpoints: [Endpoint::new(EndpointAddress::Name { host: host.into(), port })].into(),
    };
    Arc::new(Endpoints { cluster: "c".into(), localities: [locality].into(), overprovisioning: 140 })
}

const DNS: DnsSettings = DnsSettings {
    refresh: Duration::from_millis(20),
    failure_refresh: None,
    jitter: Duration::ZERO,
    family: DnsFamily::V4,
    respect_ttl: false,
    min_refresh: Duration::from_secs(1),
    servers: None,
};

fn asking(server: &DnsServer, tcp: bool) -> DnsSettings {
    let servers = DnsServers { servers: [server.address].into(), tcp, ..DnsServers::default() };
    DnsSettings { servers: Some(servers), ..DNS }
}

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

#[test]
fn named_servers_are_asked_and_changes_are_followed() {
    run(async {
        for tcp in [false, true] {
            let dns = DnsServer::start().await;
            dns.set("shop.test", &["127.0.0.1", "127.0.0.2", "::1"], 3600);
            let worker = kept_up(Discovery::StrictDns(named("shop.test", 80), asking(&dns, tcp))).await;
            let hosts = || {
                let picked = worker.upstreams.pick(&worker.snapshot.borrow(), "c", &PickContext::default());
                let mut hosts: Vec<String> = picked.map_or_else(
                    |_| Vec::new(),
                    |picked| picked.state().hosts().iter().map(|host| host.address().to_string()).collect(),
                );
                hosts.sort();
                hosts
            };
            assert_eq!(hosts(), ["127.0.0.1:80", "127.0.0.2:80"]);
            dns.set("shop.test", &["127.0.0.3"], 3600);
            crate::until("the change is seen", || hosts() == ["127.0.0.3:80"]).await;
            let (udp, over_tcp) = dns.asked();
            assert_eq!((udp > 0, over_tcp > 0), (!tcp, tcp));
        }
    });
}

#[test]
fn the_time_to_live_counts_where_asked() {
    run(async {
        for respect_ttl in [false, true] {
            let dns = DnsServer::start().await;
            dns.set("shop.test", &["127.0.0.1"], 60);
            let settings = DnsSettings { respect_ttl, ..asking(&dns, false) };
            let worker = kept_up(Discovery::StrictDns(named("shop.test", 80), settings)).await;
            if respect_ttl {
                // Far longer than the refresh rate.
                tokio::time::sleep(DNS.refresh * 10).await;
                assert_eq!(worker.metric("update_success"), 1);
            } else {
                crate::until("it is asked again", || worker.metric("update_success") > 3).await;
            }
        }
    });
}
