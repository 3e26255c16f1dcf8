// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Subscriptions and sessions as tables, and against a model server that only knows the protocol.

use crate::{Received, Rejection, Session, Subscriptions};
use gateway_xds_api::ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, Secret};
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use gateway_xds_api::pb::google::protobuf::Any;
use proptest::prelude::{Strategy, any, prop, proptest};
use std::collections::{BTreeMap, BTreeSet};

fn resource(kind: ResourceType, name: &str, version: &str) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(Any { type_url: kind.type_url().into(), value: version.as_bytes().to_vec() }),
        ..Resource::default()
    }
}

fn response(
    kind: ResourceType,
    nonce: &str,
    upserts: &[(&str, &str)],
    removals: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: kind.type_url().into(),
        nonce: nonce.into(),
        resources: upserts.iter().map(|(name, version)| resource(kind, name, version)).collect(),
        removed_resources: removals.iter().map(|name| (*name).into()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// Makes the names wanted and no others; gives what to tell the server.
fn want(subscriptions: &mut Subscriptions, kind: ResourceType, names: &[&str]) -> (Names, Names) {
    let before = subscriptions.kinds.get(&kind).map(|s| s.names.clone()).unwrap_or_default();
    let after: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let of_kind = |name: &String| (kind, name.clone());
    let wanted: Names = after.difference(&before).map(of_kind).collect();
    let unwanted: Names = before.difference(&after).map(of_kind).collect();
    wanted.iter().for_each(|(kind, name)| subscriptions.want(*kind, name));
    unwanted.iter().for_each(|(kind, name)| subscriptions.unwant(*kind, name));
    (wanted, unwanted)
}

type Names = Vec<(ResourceType, String)>;

fn held(subscriptions: &Subscriptions, kind: ResourceType) -> Vec<(String, String)> {
    subscriptions.held(kind).map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

fn reject(name: &str) -> Rejection {
    Rejection::new(name, "field x is wrong")
}

fn take(
    subscriptions: &mut Subscriptions,
    message: DeltaDiscoveryResponse,
    rejected: &[Rejection],
) -> Received {
    let received = subscriptions.receive(message).unwrap();
    subscriptions.applied(&received, rejected);
    received
}

#[test]
fn a_stream_opens_with_node_wildcards_and_names_but_never_with_an_empty_list() {
    let mut subscriptions = Subscriptions::new(&[Listener, Cluster]);
    want(&mut subscriptions, Secret, &[]);
    want(&mut subscriptions, ClusterLoadAssignment, &["b", "a"]);
    let (mut session, requests) = Session::open(&subscriptions, Node { id: "n".into(), ..Node::default() });
    let seen: Vec<_> = requests
        .iter()
        .map(|r| (r.type_url.as_str(), r.resource_names_subscribe.join(","), r.node.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            (Cluster.type_url(), "*".into(), true),
            (ClusterLoadAssignment.type_url(), "a,b".into(), false),
            (Listener.type_url(), "*".into(), false),
        ]
    );
    assert!(session.tell(&subscriptions, &[(Cluster, "c".into())], &[]).is_empty(), "the wildcard has it");
    let (wanted, unwanted) = want(&mut subscriptions, Secret, &["s"]);
    let requests = session.tell(&subscriptions, &wanted, &unwanted);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].resource_names_subscribe, ["s"]);
}

#[test]
fn changed_names_travel_as_differences() {
    let mut subscriptions = Subscriptions::new(&[]);
    want(&mut subscriptions, ClusterLoadAssignment, &["a", "b"]);
    let (mut session, _) = Session::open(&subscriptions, Node::default());
    take(&mut subscriptions, response(ClusterLoadAssignment, "1", &[("a", "1"), ("b", "1")], &[]), &[]);

    let (wanted, unwanted) = want(&mut subscriptions, ClusterLoadAssignment, &["b", "c"]);
    let requests = session.tell(&subscriptions, &wanted, &unwanted);
    assert!(session.tell(&subscriptions, &wanted, &unwanted).is_empty(), "told already");
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(request.resource_names_subscribe, ["c"]);
    assert_eq!(request.resource_names_unsubscribe, ["a"]);
    assert!(request.initial_resource_versions.is_empty(), "versions belong to the first request of a type");
    assert_eq!(held(&subscriptions, ClusterLoadAssignment), [("b".into(), "1".into())], "a is forgotten");

    let (wanted, unwanted) = want(&mut subscriptions, ClusterLoadAssignment, &[]);
    let requests = session.tell(&subscriptions, &wanted, &unwanted);
    assert_eq!(requests[0].resource_names_unsubscribe, ["b", "c"]);
    // Late answers for names that are gone are neither applied nor remembered.
    let late = take(&mut subscriptions, response(ClusterLoadAssignment, "2", &[("c", "1")], &["b"]), &[]);
    assert!(late.update.upserts.is_empty() && late.update.removals.is_empty());
    assert!(held(&subscriptions, ClusterLoadAssignment).is_empty());
}

#[test]
fn rejected_versions_are_named_and_never_replayed() {
    let mut subscriptions = Subscriptions::new(&[Cluster]);
    take(&mut subscriptions, response(Cluster, "1", &[("a", "1"), ("b", "1")], &[]), &[]);
    let received = take(
        &mut subscriptions,
        response(Cluster, "2", &[("a", "2"), ("b", "2"), ("c", "2")], &[]),
        &[reject("a"), reject("c")],
    );
    let answer = Session::answer(&received, &[reject("a"), reject("c")]);
    assert_eq!(answer.response_nonce, "2");
    let detail = answer.error_detail.unwrap();
    assert_eq!((detail.code, detail.message.as_str()), (3, "a: field x is wrong\nc: field x is wrong"));

    let (_, requests) = Session::open(&subscriptions, Node::default());
    let replayed: BTreeMap<_, _> = requests[0].initial_resource_versions.clone().into_iter().collect();
    assert_eq!(replayed, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));
}

#[test]
fn malformed_resources_are_rejected_one_by_one() {
    let subscriptions = Subscriptions::new(&[Cluster]);
    let mut message =
        response(Cluster, "7", &[("good", "1"), ("twice", "1"), ("twice", "2"), ("", "1")], &[]);
    message.resources.push(resource(Listener, "other", "1"));
    message.resources.push(Resource { name: "hollow".into(), ..Resource::default() });
    let received = subscriptions.receive(message).unwrap();
    let names: Vec<_> =
        received.update.upserts.iter().map(|u| (u.name.as_str(), u.version.as_str())).collect();
    assert_eq!(names, [("good", "1"), ("twice", "1")]);
    let answer = Session::answer(&received, &[]);
    assert_eq!(
        answer.error_detail.unwrap().message,
        "twice: resource is twice in one response\n: resource has no name\nother: resource is not of the response's \
         type\nhollow: resource has no body"
    );
}

#[test]
fn foreign_types_are_refused_by_name() {
    let subscriptions = Subscriptions::new(&[Cluster]);
    for url in ["type.googleapis.com/google.protobuf.Empty", Listener.type_url(), ""] {
        let message =
            DeltaDiscoveryResponse { type_url: url.into(), nonce: "9".into(), ..Default::default() };
        assert_eq!(subscriptions.receive(message).unwrap_err(), url);
        let answer = Session::refuse_type(url.into(), "9".into());
        assert_eq!((answer.type_url.as_str(), answer.response_nonce.as_str()), (url, "9"));
        assert!(answer.error_detail.is_some());
    }
}

#[test]
fn a_long_nack_is_cut_and_counts_the_rest() {
    let received = Received {
        update: crate::Update { kind: Cluster, version: String::new(), upserts: vec![], removals: vec![] },
        nonce: "1".into(),
        malformed: vec![],
    };
    let rejections: Vec<_> = (0..2000).map(|i| Rejection::new(format!("c{i}"), "x".repeat(100))).collect();
    let message = Session::answer(&received, &rejections).error_detail.unwrap().message;
    assert!(message.len() < 70_000, "{}", message.len());
    let last = message.lines().last().unwrap();
    let named = message.lines().count() - 1;
    assert_eq!(last, format!("and {} more", 2000 - named));
}

#[test]
fn unanswered_types_shrink_with_answers_absence_included() {
    let mut subscriptions = Subscriptions::new(&[Cluster, Listener]);
    want(&mut subscriptions, Secret, &["s", "t"]);
    assert_eq!(subscriptions.unanswered(), [Secret, Cluster, Listener]);
    take(&mut subscriptions, response(Cluster, "1", &[], &[]), &[]);
    assert_eq!(subscriptions.unanswered(), [Secret, Listener], "an empty answer is an answer");
    take(&mut subscriptions, response(Listener, "2", &[("l", "1")], &[]), &[reject("l")]);
    take(&mut subscriptions, response(Secret, "3", &[("s", "1")], &[]), &[]);
    assert_eq!(subscriptions.unanswered(), [Secret]);
    take(&mut subscriptions, response(Secret, "4", &[], &["t"]), &[]);
    assert!(subscriptions.unanswered().is_empty());
}

#[test]
fn seeded_versions_are_replayed_on_the_first_stream() {
    let mut subscriptions = Subscriptions::new(&[Cluster]);
    subscriptions.seed(Cluster, "a", "v");
    let (_, requests) = Session::open(&subscriptions, Node::default());
    assert_eq!(requests[0].initial_resource_versions.get("a").map(String::as_str), Some("v"));
}

/// A server that knows the protocol and nothing of the client's inside.
#[derive(Default)]
struct Server {
    truth: BTreeMap<String, u64>,
    subscribed: BTreeSet<String>,
    client: BTreeMap<String, String>,
}

impl Server {
    fn take(&mut self, request: &DeltaDiscoveryRequest) {
        self.subscribed.extend(request.resource_names_subscribe.iter().cloned());
        for name in &request.resource_names_subscribe {
            // A name that is asked for (again) must be answered, whatever was sent before.
            self.client.remove(name);
        }
        for name in &request.resource_names_unsubscribe {
            self.subscribed.remove(name);
            self.client.remove(name);
        }
        self.client.extend(request.initial_resource_versions.clone());
    }

    fn push(&mut self) -> DeltaDiscoveryResponse {
        let mut upserts = Vec::new();
        let mut removals = Vec::new();
        for name in &self.subscribed {
            match self.truth.get(name).map(ToString::to_string) {
                Some(version) if self.client.get(name) != Some(&version) => {
                    upserts.push((name.clone(), version))
                }
                None => removals.push(name.clone()),
                Some(_) => {}
            }
        }
        self.client.extend(upserts.iter().cloned());
        self.client.retain(|name, _| !removals.contains(name));
        let upserts: Vec<_> = upserts.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let removals: Vec<_> = removals.iter().map(String::as_str).collect();
        response(ClusterLoadAssignment, "n", &upserts, &removals)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change(u8, u64),
    Remove(u8),
    Want(BTreeSet<u8>),
    Reconnect,
    Push { lost: bool },
}

fn step() -> impl Strategy<Value = Step> {
    proptest::prop_oneof![
        (0..6_u8, 1..20_u64).prop_map(|(name, version)| Step::Change(name, version)),
        (0..6_u8).prop_map(Step::Remove),
        prop::collection::btree_set(0..6_u8, 0..6).prop_map(Step::Want),
        any::<bool>().prop_map(|_| Step::Reconnect),
        any::<bool>().prop_map(|lost| Step::Push { lost }),
    ]
}

proptest! {
    /// Whatever changed, broke or was lost on the way: after a reconnect and one push the client holds the truth.
    #[test]
    fn client_and_server_agree_after_any_history(steps in prop::collection::vec(step(), 1..40)) {
        let mut subscriptions = Subscriptions::new(&[]);
        subscriptions.want(ClusterLoadAssignment, "always");
        subscriptions.unwant(ClusterLoadAssignment, "always");
        let mut server = Server::default();
        let mut names = BTreeSet::new();
        let mut session = Session::default();
        for step in steps.into_iter().chain([Step::Reconnect, Step::Push { lost: false }]) {
            match step {
                Step::Change(name, version) => { server.truth.insert(name.to_string(), version); }
                Step::Remove(name) => { server.truth.remove(&name.to_string()); }
                Step::Want(numbers) => {
                    names = numbers.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
                    let list: Vec<_> = names.iter().map(String::as_str).collect();
                    let (wanted, unwanted) = want(&mut subscriptions, ClusterLoadAssignment, &list);
                    for request in session.tell(&subscriptions, &wanted, &unwanted) {
                        server.take(&request);
                    }
                }
                Step::Reconnect => {
                    server.subscribed.clear();
                    server.client.clear();
                    let (fresh, requests) = Session::open(&subscriptions, Node::default());
                    session = fresh;
                    requests.iter().for_each(|request| server.take(request));
                }
                Step::Push { lost } => {
                    let message = server.push();
                    if !lost {
                        take(&mut subscriptions, message, &[]);
                    }
                }
            }
        }
        let expected: Vec<_> = server.truth.iter().filter(|(name, _)| names.contains(*name))
            .map(|(name, version)| (name.clone(), version.to_string())).collect();
        assert_eq!(held(&subscriptions, ClusterLoadAssignment), expected);
    }
}
