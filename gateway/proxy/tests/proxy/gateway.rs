// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A proxy for one test.

use crate::config::{Resources, chain, http, listener};
use gateway_proxy::{DrainOptions, Proxy, ProxyOptions};
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::listener::v3::Listener;
use gateway_xds_api::pb::envoy::config::route::v3::VirtualHost;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) struct Gateway {
    pub(crate) proxy: Proxy,
    pub(crate) resources: Resources,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Plain text with these virtual hosts and clusters.
    pub(crate) async fn plain(hosts: Vec<VirtualHost>, clusters: Vec<Cluster>) -> Self {
        Self::listening(&listener(vec![chain(&http(hosts))]), clusters).await
    }

    pub(crate) async fn listening(listener: &Listener, clusters: Vec<Cluster>) -> Self {
        let mut resources = Resources::default();
        resources.clusters(clusters);
        Self::start(options(), resources, listener).await
    }

    pub(crate) async fn start(options: ProxyOptions, mut resources: Resources, listener: &Listener) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let proxy = Proxy::start(options).unwrap();
        let snapshot = resources.listener(listener);
        proxy.install(snapshot).await.unwrap();
        proxy.ready().await.unwrap();
        let address = proxy.listeners()[0].address;
        Self { proxy, resources, address }
    }

    pub(crate) async fn change(&mut self, listener: &Listener) {
        let snapshot = self.resources.listener(listener);
        self.proxy.install(snapshot).await.unwrap();
    }

    /// The sum of all samples of a metric whose line contains `part`.
    pub(crate) fn metric(&self, name: &str, part: &str) -> u64 {
        let mut text = String::new();
        self.proxy.write_metrics(&mut text);
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    /// Waits until `condition` holds, at most five seconds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(5);
        while !condition(self) {
            assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Two workers, quick drain.
pub(crate) fn options() -> ProxyOptions {
    let drain = DrainOptions {
        accept_for: Duration::from_millis(200),
        idle: Duration::from_millis(300),
        removed: Duration::from_secs(2),
    };
    ProxyOptions { workers: 2, drain, ..ProxyOptions::default() }
}
