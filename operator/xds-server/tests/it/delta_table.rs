// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Incremental xDS, case by case (xDS protocol, "Incremental xDS").

use crate::snapshots::{ack, nack, resume, said, snapshot, subscribe, unsubscribe};
use gateway_xds_api::ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, Secret, VirtualHost};
use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use operator_xds_server::{Answer, DeltaResponse, DeltaState, Form, Limits, Violation};

struct Stream(DeltaState);

impl Stream {
    fn new() -> Self {
        Self(DeltaState::new(Form::Gateway, Limits::default()))
    }

    fn ask(&mut self, kind: ResourceType, request: &DeltaDiscoveryRequest) -> Answer {
        self.0.on_request(kind, request).unwrap()
    }

    fn next(&mut self) -> DeltaResponse {
        self.0.next_response().expect("a response")
    }

    fn expect(&mut self, text: &str) -> DeltaResponse {
        let response = self.next();
        assert_eq!(said(&response), text);
        response
    }

    fn quiet(&mut self) {
        assert_eq!(self.0.next_response().as_ref().map(said), None);
    }

    /// Expects a response and acknowledges it.
    fn takes(&mut self, text: &str) {
        let response = self.expect(text);
        assert_eq!(self.ask(response.kind, &ack(&response)), Answer::Taken);
    }
}

#[test]
fn nothing_is_said_without_a_snapshot() {
    let mut stream = Stream::new();
    stream.ask(Cluster, &subscribe(&["*"]));
    stream.ask(Secret, &subscribe(&["a"]));
    stream.quiet();
    stream.0.on_snapshot(snapshot(1, &[]));
    stream.expect("Secret -a");
    stream.expect("Cluster");
    stream.quiet();
}

#[test]
fn wildcards_old_and_new() {
    for names in [&[][..], &["*"][..]] {
        let mut stream = Stream::new();
        stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1 b=1")]));
        stream.ask(Cluster, &subscribe(names));
        stream.takes("Cluster +a=1 +b=1");
        stream.0.on_snapshot(snapshot(2, &[(Cluster, "a=1 b=2 c=1")]));
        stream.takes("Cluster +b=2 +c=1");
        stream.quiet();
    }
    // Other types have no legacy wildcard.
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Secret, "a=1")]));
    stream.ask(Secret, &subscribe(&[]));
    stream.quiet();
}

#[test]
fn by_name_only_what_was_asked_for() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Secret, "a=1 b=1")]));
    stream.ask(Secret, &subscribe(&["a", "gone"]));
    stream.takes("Secret +a=1 -gone");
    stream.quiet();
    stream.0.on_snapshot(snapshot(2, &[(Secret, "a=1 b=2")]));
    stream.quiet();
    stream.ask(Secret, &subscribe(&["b"]));
    stream.takes("Secret +b=2");
    stream.0.on_snapshot(snapshot(3, &[(Secret, "a=2 b=2 gone=1")]));
    stream.takes("Secret +a=2 +gone=1");
    stream.ask(Secret, &unsubscribe(&["a"]));
    stream.0.on_snapshot(snapshot(4, &[(Secret, "a=3 b=3")]));
    stream.takes("Secret +b=3");
    // Asked for again: said again, changed or not.
    stream.ask(Secret, &subscribe(&["b"]));
    stream.takes("Secret +b=3");
    stream.quiet();
}

#[test]
fn removals_by_name_wait_for_the_routes() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1"), (VirtualHost, "h=1"), (Listener, "l=1")]));
    for kind in [Cluster, Listener, VirtualHost] {
        stream.ask(kind, &subscribe(&["*"]));
    }
    stream.takes("Cluster +a=1");
    stream.takes("Listener +l=1");
    stream.takes("VirtualHost +h=1");
    assert!(stream.0.settled());
    stream.0.on_snapshot(snapshot(2, &[(VirtualHost, "h=2"), (Listener, "l=1")]));
    let response = stream.expect("VirtualHost +h=2");
    stream.quiet();
    stream.ask(VirtualHost, &ack(&response));
    stream.takes("Cluster -a");
    assert!(stream.0.settled());
}

#[test]
fn a_cluster_stays_while_a_refused_route_may_use_it() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1"), (VirtualHost, "h=1")]));
    for kind in [Cluster, Listener, VirtualHost] {
        stream.ask(kind, &subscribe(&["*"]));
    }
    stream.takes("Cluster +a=1");
    stream.takes("Listener");
    stream.takes("VirtualHost +h=1");
    stream.0.on_snapshot(snapshot(2, &[(VirtualHost, "h=2")]));
    let response = stream.expect("VirtualHost +h=2");
    let Answer::Refused(refusal) = stream.ask(VirtualHost, &nack(&response, "h: bad")) else {
        panic!("not refused")
    };
    assert_eq!(refusal.origin.as_deref(), Some("HTTPRoute test/h"));
    stream.quiet();
    stream.0.on_snapshot(snapshot(3, &[(VirtualHost, "h=3")]));
    stream.takes("VirtualHost +h=3");
    stream.takes("Cluster -a");
}

#[test]
fn routes_wait_for_new_clusters_and_their_endpoints() {
    let mut stream = Stream::new();
    stream
        .0
        .on_snapshot(snapshot(1, &[(Cluster, "a=1"), (ClusterLoadAssignment, "a=1"), (VirtualHost, "h=1")]));
    stream.ask(Cluster, &subscribe(&["*"]));
    stream.ask(Listener, &subscribe(&["*"]));
    stream.ask(VirtualHost, &subscribe(&["*"]));
    let clusters = stream.expect("Cluster +a=1");
    stream.quiet();
    stream.ask(ClusterLoadAssignment, &subscribe(&["a"]));
    let endpoints = stream.expect("ClusterLoadAssignment +a=1");
    stream.ask(Cluster, &ack(&clusters));
    stream.quiet();
    stream.ask(ClusterLoadAssignment, &ack(&endpoints));
    stream.takes("Listener");
    stream.takes("VirtualHost +h=1");
    // Endpoints that merely change hold nothing up.
    stream
        .0
        .on_snapshot(snapshot(2, &[(Cluster, "a=1"), (ClusterLoadAssignment, "a=2"), (VirtualHost, "h=2")]));
    stream.expect("ClusterLoadAssignment +a=2");
    stream.expect("VirtualHost +h=2");
}

#[test]
fn one_response_in_flight_and_what_changes_meanwhile_is_one_difference() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1")]));
    stream.ask(Cluster, &subscribe(&["*"]));
    let response = stream.expect("Cluster +a=1");
    stream.0.on_snapshot(snapshot(2, &[(Cluster, "a=2 b=1")]));
    stream.0.on_snapshot(snapshot(3, &[(Cluster, "a=3 c=1")]));
    stream.quiet();
    // A stale nonce answers nothing.
    assert_eq!(
        stream.ask(Cluster, &DeltaDiscoveryRequest { response_nonce: "77".into(), ..Default::default() }),
        Answer::None
    );
    stream.quiet();
    stream.ask(Cluster, &ack(&response));
    stream.takes("Cluster +a=3 +c=1");
    stream.quiet();
}

#[test]
fn a_reconnect_sends_the_difference() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1 b=2 d=1"), (Secret, "s=1 t=2")]));
    stream.ask(Cluster, &resume(&["*"], &[("a", "1"), ("b", "1"), ("c", "1")]));
    stream.ask(Listener, &resume(&["*"], &[]));
    stream.ask(VirtualHost, &resume(&["*"], &[]));
    stream.ask(Secret, &resume(&["s", "t", "u"], &[("s", "1"), ("t", "1"), ("u", "1")]));
    stream.takes("Secret +t=2");
    stream.takes("Cluster +b=2 +d=1");
    stream.takes("Listener");
    stream.takes("VirtualHost");
    stream.takes("Cluster -c");
    stream.takes("Secret -u");
    assert!(stream.0.settled());
    stream.quiet();
}

#[test]
fn a_reconnect_up_to_date_gets_empty_greetings() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1"), (Secret, "s=1")]));
    stream.ask(Cluster, &resume(&[], &[("a", "1")]));
    stream.ask(Secret, &resume(&["s"], &[("s", "1")]));
    stream.takes("Cluster");
    stream.quiet();
}

#[test]
fn wildcard_and_names_mix() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1 b=1")]));
    stream.ask(Cluster, &subscribe(&["*", "a", "zz"]));
    stream.takes("Cluster +a=1 +b=1 -zz");
    // The name ends, the wildcard still covers it: it is said again.
    stream.ask(Cluster, &unsubscribe(&["a"]));
    stream.takes("Cluster +a=1");
    stream.ask(Cluster, &subscribe(&["a"]));
    stream.takes("Cluster +a=1");
    // The wildcard ends, the names stay.
    stream.ask(Cluster, &unsubscribe(&["*"]));
    stream.quiet();
    stream.0.on_snapshot(snapshot(2, &[(Cluster, "a=2 b=2 zz=1")]));
    stream.takes("Cluster +a=2 +zz=1");
    stream.quiet();
}

#[test]
fn a_refusal_is_not_repeated_until_something_changes() {
    let mut stream = Stream::new();
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "a=1 b=1")]));
    stream.ask(Cluster, &subscribe(&["*"]));
    stream.takes("Cluster +a=1 +b=1");
    stream.0.on_snapshot(snapshot(2, &[(Cluster, "a=2 b=2")]));
    let response = stream.expect("Cluster +a=2 +b=2");
    assert!(matches!(stream.ask(Cluster, &nack(&response, "a is bad")), Answer::Refused(_)));
    stream.quiet();
    stream.0.on_snapshot(snapshot(3, &[(Cluster, "a=2 b=2")]));
    stream.quiet();
    // What was refused along with it goes again.
    stream.0.on_snapshot(snapshot(4, &[(Cluster, "a=1 b=2")]));
    stream.takes("Cluster +a=1 +b=2");
    stream.quiet();
}

#[test]
fn large_sets_come_in_pieces() {
    let limits = Limits { response_bytes: 10, ..Limits::default() };
    let mut stream = Stream(DeltaState::new(Form::Gateway, limits));
    stream.0.on_snapshot(snapshot(1, &[(Cluster, "aaaa=1 bbbb=1 cccc=1"), (VirtualHost, "h=1")]));
    stream.ask(Cluster, &subscribe(&["*"]));
    stream.ask(VirtualHost, &subscribe(&["*"]));
    stream.takes("Cluster +aaaa=1 +bbbb=1");
    stream.takes("Cluster +cccc=1");
    stream.takes("VirtualHost +h=1");
}

#[test]
fn too_many_names_end_the_stream() {
    let limits = Limits { names: 3, ..Limits::default() };
    let mut state = DeltaState::new(Form::Gateway, limits);
    state.on_request(Secret, &subscribe(&["a", "b"])).unwrap();
    assert_eq!(state.on_request(Cluster, &subscribe(&["c", "d"])), Err(Violation::TooManyNames(3)));
}
