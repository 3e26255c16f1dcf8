// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Streams: order, answers, reconnects, preparation.

use crate::consumer::Recorder;
use crate::server::{AdsServer, within};
use gateway_xds_api::ResourceType::{Cluster, ClusterLoadAssignment, Listener, VirtualHost};
use gateway_xds_client::{
    Client, ClientOptions, ClientStatus, NodeIdentity, Protocol, Rejection, Security, StatusView,
    Subscriptions, Update,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub fn node() -> NodeIdentity {
    NodeIdentity {
        id: "c/gateways/edge-1".into(),
        cluster: "gateways/edge".into(),
        metadata: serde_json::Map::new(),
        locality: None,
    }
}

struct Running {
    server: AdsServer,
    updates: mpsc::UnboundedReceiver<Update>,
    status: Arc<ClientStatus>,
    cancel: CancellationToken,
    running: tokio::task::JoinHandle<Recorder>,
}

async fn start(gate: Option<oneshot::Receiver<Vec<Rejection>>>) -> Running {
    let server = AdsServer::start(None).await;
    let (mut recorder, updates) = Recorder::new();
    recorder.gate = gate;
    let options = ClientOptions {
        address: server.address.to_string(),
        node: node(),
        protocol: Protocol::Delta,
        security: Security::Plaintext,
        ask_again: Duration::from_millis(50),
    };
    let client = Client::new(options, Subscriptions::new(&[Cluster, Listener, VirtualHost]), recorder);
    let (status, cancel) = (client.status(), CancellationToken::new());
    let running = tokio::spawn(client.run(cancel.clone()));
    Running { server, updates, status, cancel, running }
}

impl Running {
    async fn applied(&mut self) -> (gateway_xds_api::ResourceType, Vec<String>, Vec<String>) {
        let update = within("an update", self.updates.recv()).await.unwrap();
        (update.kind, update.upserts.into_iter().map(|upsert| upsert.name).collect(), update.removals)
    }
}

impl Running {
    async fn until(&self, what: &str, condition: impl Fn(&StatusView) -> bool) {
        let holds = async {
            while !condition(&self.status.view()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        within(what, holds).await;
    }
}

#[tokio::test]
async fn good_resources_apply_bad_ones_are_named_and_references_are_followed() {
    let mut running = start(None).await;
    let mut stream = running.server.accept().await;
    let opening = stream.opening(3).await;
    let opened: Vec<_> =
        opening.iter().map(|r| (r.type_url.as_str(), r.resource_names_subscribe.join(","))).collect();
    let star = || "*".to_owned();
    assert_eq!(
        opened,
        [(Cluster.type_url(), star()), (Listener.type_url(), star()), (VirtualHost.type_url(), star())]
    );
    let said = opening[0].node.as_ref().unwrap();
    assert_eq!((said.id.as_str(), said.user_agent_name.as_str()), ("c/gateways/edge-1", "gatefleet-gateway"));
    assert_eq!(running.status.view().waiting_for, ["Cluster", "Listener", "VirtualHost"]);

    stream.send(Cluster, "1", &[("a", "1"), ("b", "bad1"), ("c", "1")], &["z"]).await;
    assert_eq!(running.applied().await, (Cluster, vec!["a".into(), "c".into()], vec!["z".into()]));
    let answer = stream.answer().await;
    assert_eq!(
        (answer.response_nonce.as_str(), answer.error_detail.unwrap().message.as_str()),
        ("1", "b: it is bad")
    );
    let follow = stream.request().await;
    assert_eq!(follow.type_url, ClusterLoadAssignment.type_url());
    assert_eq!(follow.resource_names_subscribe, ["a", "c"]);

    stream.send(ClusterLoadAssignment, "2", &[("a", "1")], &["c"]).await;
    let answer = stream.answer().await;
    assert!(answer.error_detail.is_none(), "{answer:?}");
    stream.send(Cluster, "3", &[], &["c"]).await;
    assert_eq!(stream.answer().await.response_nonce, "3");
    assert_eq!(stream.request().await.resource_names_unsubscribe, ["c"]);

    let view = running.status.view();
    assert_eq!((view.types["Cluster"].accepted, view.types["Cluster"].rejected), (1, 1));
    assert_eq!(view.types["Cluster"].resources, 1);
    assert_eq!(view.waiting_for, ["Listener", "VirtualHost"]);
    running.cancel.cancel();
    stream.left().await;
    within("the client to end", running.running).await.unwrap();
    assert!(!running.status.view().connected);
}

#[tokio::test]
async fn a_reconnect_replays_names_and_the_versions_that_were_accepted() {
    let mut running = start(None).await;
    let mut stream = running.server.accept().await;
    stream.opening(3).await;
    stream.send(Cluster, "1", &[("a", "1"), ("b", "1")], &[]).await;
    stream.answer().await;
    stream.request().await;
    stream.send(ClusterLoadAssignment, "2", &[("a", "7")], &[]).await;
    stream.answer().await;
    stream.send(Cluster, "3", &[("a", "bad"), ("b", "2")], &[]).await;
    assert!(stream.answer().await.error_detail.is_some());
    stream.fail(Status::unavailable("relay restarts")).await;

    let mut stream = running.server.accept().await;
    let opening: BTreeMap<_, _> =
        stream.opening(4).await.into_iter().map(|r| (r.type_url.clone(), r)).collect();
    let replayed = |kind: gateway_xds_api::ResourceType| {
        let request = &opening[kind.type_url()];
        let versions: BTreeMap<_, _> = request.initial_resource_versions.clone().into_iter().collect();
        (request.resource_names_subscribe.join(","), versions)
    };
    let versions = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    assert_eq!(replayed(Cluster), ("*".into(), versions(&[("a", "1"), ("b", "2")])));
    assert_eq!(replayed(ClusterLoadAssignment), ("a,b".into(), versions(&[("a", "7")])));
    assert_eq!(replayed(Listener), ("*".into(), versions(&[])));
    running.until("the second stream", |view| (view.connected, view.streams) == (true, 2)).await;
    assert_eq!(running.status.view().last_error, None);
}

#[tokio::test]
async fn an_absent_or_refusing_server_is_tried_again() {
    let mut running = start(None).await;
    running.server.accept().await.fail(Status::permission_denied("who are you")).await;
    let second = running.server.accept().await;
    let refused = "relay ended the stream with PermissionDenied: who are you";
    running.until("the refusal", |view| view.connected || view.last_error.as_deref() == Some(refused)).await;
    drop(second);
    let mut third = running.server.accept().await;
    third.opening(3).await;
    running.until("the third stream", |view| (view.connected, view.streams) == (true, 3)).await;
}

#[tokio::test]
async fn other_types_go_on_while_a_listener_is_being_prepared_and_its_order_stays() {
    let (open, gate) = oneshot::channel();
    let mut running = start(Some(gate)).await;
    let mut stream = running.server.accept().await;
    stream.opening(3).await;
    stream.send(Listener, "1", &[("l", "1"), ("m", "1")], &[]).await;
    stream.send(VirtualHost, "2", &[("v", "1")], &[]).await;
    assert_eq!(running.applied().await.0, VirtualHost);
    assert_eq!(stream.answer().await.response_nonce, "2");
    // A newer listener must not overtake the one that is being prepared.
    stream.send(Listener, "3", &[("l", "2")], &[]).await;
    open.send(vec![Rejection { transient: true, ..Rejection::new("m", "plugin x cannot be fetched") }])
        .unwrap();
    assert_eq!(running.applied().await, (Listener, vec!["l".into()], vec![]));
    let answer = stream.answer().await;
    assert_eq!(answer.response_nonce, "1");
    assert_eq!(answer.error_detail.unwrap().message, "m: plugin x cannot be fetched");
    assert_eq!(running.applied().await, (Listener, vec!["l".into()], vec![]));
    assert_eq!(stream.answer().await.response_nonce, "3");
    // What could not be fetched may be there later.
    let again = stream.request().await;
    assert_eq!(
        (again.type_url.as_str(), again.resource_names_subscribe),
        (Listener.type_url(), vec!["m".to_owned()])
    );
}
