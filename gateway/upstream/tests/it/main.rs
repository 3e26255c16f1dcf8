// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Pools, balancing, health and limits against real servers on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod checks;
mod choice;
mod dns;
mod dns_server;
mod health;
mod http1;
mod http2;
mod limits;
mod server;
mod sockets;
mod tls;
mod trust;
mod upgrade;

use bytes::Bytes;
use gateway_config::{
    Cluster, Discovery, Endpoint, EndpointAddress, Endpoints, LbMetadata, Locality, Place, Snapshot,
    UpstreamProtocol,
};
use gateway_upstream::{PickContext, SendError, UpstreamBody, UpstreamRegistry, Upstreams};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::LocalSet;

type RequestBody = Full<Bytes>;

/// A worker with one cluster, `c`.
struct Worker {
    upstreams: Upstreams<RequestBody>,
    registry: Arc<UpstreamRegistry>,
    snapshot: RefCell<Snapshot>,
}

impl Worker {
    fn new(cluster: Cluster, endpoints: Endpoints) -> Self {
        let registry = UpstreamRegistry::new();
        let worker =
            Self { upstreams: Upstreams::new(Arc::clone(&registry)), registry, snapshot: RefCell::default() };
        worker.set(cluster, endpoints);
        worker
    }

    fn set(&self, cluster: Cluster, endpoints: Endpoints) {
        let mut snapshot = self.snapshot.borrow_mut();
        snapshot.generation += 1;
        snapshot.clusters.insert("c", Arc::new(cluster));
        snapshot.endpoints.insert("c", Arc::new(endpoints));
    }

    async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<UpstreamBody<RequestBody>>, SendError<RequestBody>> {
        self.send_as(request, &PickContext::default()).await
    }

    async fn send_as(
        &self,
        request: Request<RequestBody>,
        context: &PickContext<'_>,
    ) -> Result<Response<UpstreamBody<RequestBody>>, SendError<RequestBody>> {
        let snapshot = self.snapshot.borrow().clone();
        let picked = self.upstreams.pick(&snapshot, "c", context).unwrap();
        self.upstreams.send(&picked, request).await
    }

    /// The text of an answer to `GET /path`.
    async fn text(&self, path: &str) -> String {
        body_text(self.send(get(path)).await.unwrap()).await
    }

    fn metric(&self, name: &str) -> u64 {
        let found = self
            .registry
            .cluster("c")
            .metrics
            .iter()
            .find(|(metric, ..)| *metric == name)
            .map(|(.., value)| value);
        found.unwrap_or_else(|| panic!("no metric {name}"))
    }
}

async fn body_text(response: Response<UpstreamBody<RequestBody>>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn get(path: &str) -> Request<RequestBody> {
    Request::get(path).header("host", "c.example").body(Full::default()).unwrap()
}

fn cluster(protocol: UpstreamProtocol) -> Cluster {
    Cluster { protocol, ..Cluster::new("c", Discovery::Eds { service_name: None }) }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(EndpointAddress::Socket(address))
}

fn endpoints(addresses: &[SocketAddr]) -> Endpoints {
    let priorities = [addresses.iter().map(|address| endpoint(*address)).collect()];
    by_priority(priorities)
}

fn by_priority(priorities: impl IntoIterator<Item = Vec<Endpoint>>) -> Endpoints {
    let localities = (0..).zip(priorities).map(|(priority, list)| Locality {
        place: Place::default(),
        priority,
        weight: None,
        socket_metadata: LbMetadata::default(),
        endpoints: list.into(),
    });
    Endpoints { cluster: "c".into(), localities: localities.collect(), overprovisioning: 140 }
}

/// Runs a test on one thread with local tasks, for at most half a minute.
fn run(test: impl Future<Output = ()>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(30), test).await.unwrap() };
    LocalSet::new().block_on(&runtime, limited);
}

/// Waits for a condition, for at most five seconds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

/// An address on which nothing listens.
async fn closed_address() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
