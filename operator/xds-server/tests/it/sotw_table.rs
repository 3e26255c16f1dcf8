// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! State-of-the-world xDS, case by case.

use crate::snapshots::snapshot;
use gateway_xds_api::ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration};
use gateway_xds_api::pb::envoy::service::discovery::v3::DiscoveryRequest;
use gateway_xds_api::pb::google::rpc::Status;
use operator_xds_server::{Answer, Limits, SotwResponse, SotwState};

fn ask(state: &mut SotwState, kind: ResourceType, names: &[&str], nonce: &str) -> Answer {
    let request = DiscoveryRequest {
        resource_names: names.iter().map(ToString::to_string).collect(),
        response_nonce: nonce.into(),
        ..DiscoveryRequest::default()
    };
    state.on_request(kind, &request).unwrap()
}

fn expect(state: &mut SotwState, text: &str) -> SotwResponse {
    let response = state.next_response().expect("a response");
    let words: Vec<String> = response.resources.iter().map(|r| format!("{}={}", r.name, r.version)).collect();
    assert_eq!(format!("{} {}", response.kind, words.join(" ")).trim_end(), text);
    response
}

#[test]
fn a_stock_envoy_starts_and_follows() {
    let mut state = SotwState::new(Limits::default());
    let parts = [
        (Cluster, "a=1 b=1"),
        (ClusterLoadAssignment, "a=1 b=1"),
        (Listener, "l=1"),
        (RouteConfiguration, "r=1"),
    ];
    state.on_snapshot(snapshot(1, &parts));
    ask(&mut state, Cluster, &[], "");
    let clusters = expect(&mut state, "Cluster a=1 b=1");
    ask(&mut state, ClusterLoadAssignment, &["a", "b"], "");
    let endpoints = expect(&mut state, "ClusterLoadAssignment a=1 b=1");
    assert_eq!(ask(&mut state, Cluster, &[], &clusters.nonce), Answer::Taken);
    ask(&mut state, ClusterLoadAssignment, &["a", "b"], &endpoints.nonce);
    ask(&mut state, Listener, &[], "");
    let listeners = expect(&mut state, "Listener l=1");
    ask(&mut state, RouteConfiguration, &["r"], "");
    let routes = expect(&mut state, "RouteConfiguration r=1");
    ask(&mut state, Listener, &[], &listeners.nonce);
    ask(&mut state, RouteConfiguration, &["r"], &routes.nonce);
    assert!(state.settled());

    // A cluster goes: it stays in the whole until the routes were taken.
    let parts = [
        (Cluster, "a=1 c=1"),
        (ClusterLoadAssignment, "a=2 c=1"),
        (Listener, "l=1"),
        (RouteConfiguration, "r=2"),
    ];
    state.on_snapshot(snapshot(2, &parts));
    let clusters = expect(&mut state, "Cluster a=1 b=1 c=1");
    let endpoints = expect(&mut state, "ClusterLoadAssignment a=2");
    assert!(state.next_response().is_none());
    // A stale nonce is void, names and all.
    assert_eq!(ask(&mut state, ClusterLoadAssignment, &["zzz"], "0"), Answer::None);
    ask(&mut state, Cluster, &[], &clusters.nonce);
    ask(&mut state, ClusterLoadAssignment, &["a", "b", "c"], &endpoints.nonce);
    let endpoints = expect(&mut state, "ClusterLoadAssignment c=1");
    ask(&mut state, ClusterLoadAssignment, &["a", "b", "c"], &endpoints.nonce);
    let routes = expect(&mut state, "RouteConfiguration r=2");
    ask(&mut state, RouteConfiguration, &["r"], &routes.nonce);
    let clusters = expect(&mut state, "Cluster a=1 c=1");
    ask(&mut state, Cluster, &[], &clusters.nonce);
    ask(&mut state, ClusterLoadAssignment, &["a", "c"], &endpoints.nonce);
    assert!(state.next_response().is_none());
    assert!(state.settled());
}

#[test]
fn a_refusal_names_its_origin_and_is_not_repeated() {
    let mut state = SotwState::new(Limits::default());
    state.on_snapshot(snapshot(1, &[(Listener, "l=1")]));
    ask(&mut state, Cluster, &[], "");
    let clusters = expect(&mut state, "Cluster");
    ask(&mut state, Cluster, &[], &clusters.nonce);
    ask(&mut state, Listener, &[], "");
    let response = expect(&mut state, "Listener l=1");
    let request = DiscoveryRequest {
        response_nonce: response.nonce.clone(),
        error_detail: Some(Status { message: "Error adding listener(s) l: no".into(), ..Status::default() }),
        ..DiscoveryRequest::default()
    };
    let Answer::Refused(nack) = state.on_request(Listener, &request).unwrap() else { panic!("not refused") };
    assert_eq!((nack.resource.as_deref(), nack.origin.as_deref()), (Some("l"), Some("HTTPRoute test/l")));
    assert!(state.next_response().is_none());
}
