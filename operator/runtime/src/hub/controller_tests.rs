// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The whole hub over objects in memory: real workers and processes; relays that acknowledge at once.

use crate::hub::{self, HostPrograms, HubOptions, RelayEndpoint, RelayHost, RelayRequest};
use crate::objects::{Objects, Scope, Store};
use crate::pin::Pinned;
use crate::relay::{GatewayReport, RelayReport};
use crds::{FleetCluster, FleetMember, FleetRevision, GatewayFleet};
use k8s_openapi::api::networking::v1::Ingress;
use multicluster_apply::{HostTokens, MemberKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(30);

/// Says that it is ready until it is ended.
const GATEWAY: &str = r#"#!/usr/bin/env python3
import json, socket, sys
host, port = json.load(open(sys.argv[2]))["readiness"].rsplit(":", 1)
server = socket.create_server((host, int(port)))
while True:
    peer, _ = server.accept()
    peer.recv(1024)
    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    peer.close()
"#;

/// Every pin is acknowledged by two proxies at once.
#[derive(Debug, Default)]
struct Relays {
    pins: Arc<Mutex<Vec<Arc<Pinned>>>>,
}

impl RelayHost for Relays {
    fn start(&self, request: RelayRequest) -> Result<RelayEndpoint, String> {
        let (sender, reports) = watch::channel(RelayReport::default());
        let (mut pins, seen) = (request.pins, Arc::clone(&self.pins));
        pins.mark_changed();
        tokio::spawn(async move {
            while pins.changed().await.is_ok() {
                let Some(pinned) = pins.borrow_and_update().clone() else { continue };
                let answer = GatewayReport { connected: 2, acked: 2, ..GatewayReport::default() };
                let report = RelayReport {
                    revision: pinned.revision.clone(),
                    hash: pinned.hash.clone(),
                    gateways: pinned.gateways.keys().map(|id| (id.clone(), answer.clone())).collect(),
                    ..RelayReport::default()
                };
                seen.lock().push(pinned);
                sender.send_replace(report);
            }
        });
        Ok(RelayEndpoint {
            address: "127.0.0.1:1".into(),
            issuer: "127.0.0.1:2".into(),
            server_name: "gatefleet-relay".into(),
            reports,
        })
    }

    fn stop(&self, _: &MemberKey) {}
}

struct Rig {
    objects: Objects,
    relays: Arc<Relays>,
    stop: CancellationToken,
    hub: tokio::task::JoinHandle<()>,
    folder: TempDir,
}

fn start() -> Rig {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = TempDir::new().unwrap();
    let gateway = folder.path().join("gateway");
    fs::write(&gateway, GATEWAY).unwrap();
    fs::set_permissions(&gateway, fs::Permissions::from_mode(0o755)).unwrap();
    let (objects, relays) = (Objects::Folder(Store::new()), Arc::new(Relays::default()));
    let options = HubOptions {
        objects: objects.clone(),
        namespace: "n".into(),
        identity: "test".into(),
        operator_image: String::new(),
        gateway_image: String::new(),
        relay_arguments: Vec::new(),
        relays: Some(relays.clone()),
        host: Some(HostPrograms {
            gateway,
            own: "/bin/true".into(),
            state_dir: folder.path().join("state"),
            tokens: HostTokens::default(),
        }),
    };
    let stop = CancellationToken::new();
    let hub = tokio::spawn(hub::run(options, stop.clone()));
    Rig { objects, relays, stop, hub, folder }
}

fn fleet(names: &[&str]) -> GatewayFleet {
    object(json!({"apiVersion": "gatefleet.dev/v1alpha1", "kind": "GatewayFleet",
        "metadata": {"name": "edge", "namespace": "n"},
        "spec": {"clusters": {"names": names}, "template": {"listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]}}}))
}

fn cluster(name: &str) -> FleetCluster {
    object(json!({"apiVersion": "gatefleet.dev/v1alpha1", "kind": "FleetCluster",
        "metadata": {"name": name, "namespace": "n"}, "spec": {"mode": "Host"}}))
}

fn ingress(path: &str) -> Ingress {
    object(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop", "namespace": "n"},
        "spec": {"ingressClassName": "gatefleet", "rules": [{"host": "shop.example", "http": {"paths": [
            {"path": path, "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}}]}}]}}),
    )
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

impl Rig {
    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Objects) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            if let Some(found) = look(&self.objects).await {
                return found;
            }
            if tokio::time::Instant::now() > deadline {
                let fleets = self.objects.list::<GatewayFleet>(Scope::all()).await.unwrap();
                let members = self.objects.list::<FleetMember>(Scope::all()).await.unwrap();
                let text = json!([fleets[0].status, members.iter().map(|m| &m.status).collect::<Vec<_>>()]);
                panic!("waited {LIMIT:?} for {what}: {text:#}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ready(&self, truth: &str, reason: &str) {
        self.until(&format!("Ready {truth} {reason}"), async |objects| {
            let fleet = objects.get::<GatewayFleet>("n", "edge").await.unwrap()?;
            let status = fleet.status?;
            let current = Some(status.observed_generation) == fleet.metadata.generation;
            let ready = status.conditions.iter().find(|c| c.type_ == "Ready")?;
            (current && ready.status == truth && ready.reason == reason).then_some(())
        })
        .await;
    }

    fn process_ids(&self) -> Vec<String> {
        let gateways = self.folder.path().join("state/n/edge/a/gateways/n");
        let read = |pod: &str| fs::read_to_string(gateways.join(pod).join("pid")).unwrap_or_default();
        vec![read("edge-0"), read("edge-1")]
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.hub).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_fleet_comes_up_follows_its_routes_and_ends() {
    let rig = start();
    rig.objects.apply("user", &cluster("a")).await.unwrap();
    rig.objects.apply("user", &fleet(&["a"])).await.unwrap();
    rig.ready("True", "RolledOut").await;
    let member = rig.objects.get::<FleetMember>("n", "edge-a").await.unwrap().unwrap();
    assert_eq!(member.spec.revision.as_deref(), Some("edge-r1"));
    let status = member.status.unwrap();
    assert_eq!(status.addresses, ["127.0.0.2:8080"]);
    assert_eq!((status.replicas.unwrap().ready, status.config.unwrap().acked), (2, 2));

    let before = rig.process_ids();
    assert!(before.iter().all(|pid| !pid.is_empty()), "{before:?}");
    rig.objects.apply("user", &ingress("/")).await.unwrap();
    rig.until("the second revision", async |objects| {
        let member = objects.get::<FleetMember>("n", "edge-a").await.unwrap()?;
        (member.spec.revision.as_deref() == Some("edge-r2")).then_some(())
    })
    .await;
    rig.ready("True", "RolledOut").await;
    let pins: Vec<String> = rig.relays.pins.lock().iter().map(|pinned| pinned.revision.clone()).collect();
    assert_eq!(pins, ["edge-r1", "edge-r2"]);
    assert_eq!(rig.process_ids(), before, "a route touched the workload");
    let address = rig
        .until("the Ingress's address", async |objects| {
            let ingress = objects.get::<Ingress>("n", "shop").await.unwrap()?;
            ingress.status?.load_balancer?.ingress?.first()?.ip.clone()
        })
        .await;
    assert_eq!(address, "127.0.0.2");
    let revisions = rig.objects.list::<FleetRevision>(Scope::all()).await.unwrap();
    assert_eq!(revisions.len(), 2);

    let folder = rig.folder.path().to_owned();
    let processes = before.clone();
    rig.end().await;
    for process in processes {
        let pid = process.lines().next().unwrap().to_owned();
        assert!(!Path::new("/proc").join(&pid).exists(), "process {pid} is left, of {}", folder.display());
    }
}

#[tokio::test]
async fn an_unknown_cluster_is_told_and_the_others_go_on() {
    let rig = start();
    rig.objects.apply("user", &cluster("a")).await.unwrap();
    rig.objects.apply("user", &fleet(&["a", "nowhere"])).await.unwrap();
    rig.ready("False", "UnknownCluster").await;
    rig.until("the member that is there", async |objects| {
        let member = objects.get::<FleetMember>("n", "edge-a").await.unwrap()?;
        let ready = member.status?.conditions.into_iter().find(|c| c.type_ == "Ready")?;
        (ready.status == "True").then_some(())
    })
    .await;
    rig.objects.apply("user", &fleet(&["a"])).await.unwrap();
    rig.ready("True", "RolledOut").await;
    rig.end().await;
}

#[tokio::test]
async fn a_cluster_that_is_no_longer_there_leaves_after_its_grace_only() {
    let rig = start();
    rig.objects.apply("user", &cluster("a")).await.unwrap();
    rig.objects.apply("user", &cluster("b")).await.unwrap();
    rig.objects.apply("user", &fleet(&["a", "b"])).await.unwrap();
    rig.ready("True", "RolledOut").await;
    rig.objects.delete::<FleetCluster>("n", "b").await.unwrap();
    rig.until("the member that leaves", async |objects| {
        let member = objects.get::<FleetMember>("n", "edge-b").await.unwrap()?;
        (member.spec.state == crds::MemberState::Draining).then_some(())
    })
    .await;
    let pid = fs::read_to_string(rig.folder.path().join("state/n/edge/b/gateways/n/edge-0/pid")).unwrap();
    let pid = pid.lines().next().unwrap();
    assert!(Path::new("/proc").join(pid).exists(), "what ran there was ended before the grace was over");
    rig.end().await;
}
