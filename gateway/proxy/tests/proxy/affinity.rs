// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Requests that keep their endpoint, by header, cookie and address; endpoints by metadata.

use crate::client::Client;
use crate::config::{address, cluster, host, route, to};
use crate::gateway::Gateway;
use crate::origin::Origin;
use gateway_xds_api::pb::envoy::config::cluster::v3::{Cluster, cluster as cluster_pb};
use gateway_xds_api::pb::envoy::config::core::v3::Metadata;
use gateway_xds_api::pb::envoy::config::endpoint::v3::{Endpoint, LbEndpoint, lb_endpoint};
use gateway_xds_api::pb::envoy::config::route::v3::route_action::hash_policy::{
    Cookie, Header, PolicySpecifier,
};
use gateway_xds_api::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use gateway_xds_api::pb::envoy::config::route::v3::{
    RouteAction, WeightedCluster, weighted_cluster::ClusterWeight,
};
use gateway_xds_api::pb::google::protobuf::{Duration, Struct, UInt32Value, Value, value::Kind};
use http::Request;
use std::collections::{BTreeSet, HashMap};

async fn origins(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for name in ["0", "1", "2", "3"].into_iter().take(count) {
        origins.push(Origin::named(name).await);
    }
    origins
}

fn policy(specifier: PolicySpecifier) -> HashPolicy {
    HashPolicy { policy_specifier: Some(specifier), terminal: false }
}

fn hashing(cluster: Cluster, policy: cluster_pb::LbPolicy) -> Cluster {
    Cluster { lb_policy: policy.into(), ..cluster }
}

async fn by(policies: Vec<HashPolicy>, lb: cluster_pb::LbPolicy) -> (Gateway, Vec<Origin>) {
    let origins = origins(4).await;
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let action = RouteAction { hash_policy: policies, ..to("one") };
    let gateway =
        Gateway::plain(vec![host(vec![route("/", action)])], vec![hashing(cluster("one", &addresses), lb)])
            .await;
    (gateway, origins)
}

#[tokio::test]
async fn a_header_decides_the_endpoint() {
    for lb in [cluster_pb::LbPolicy::RingHash, cluster_pb::LbPolicy::Maglev] {
        let header = Header { header_name: "x-user".to_owned(), regex_rewrite: None };
        let (gateway, _origins) = by(vec![policy(PolicySpecifier::Header(header))], lb).await;
        let mut client = Client::http1(gateway.address).await;
        let mut seen = BTreeSet::new();
        for user in 0..20 {
            let mut own = BTreeSet::new();
            for _ in 0..5 {
                let request =
                    Request::get("/").header("host", "a.example").header("x-user", user.to_string());
                own.insert(client.send(request.body(crate::origin::full("")).unwrap()).await.body);
            }
            assert_eq!(own.len(), 1, "{lb:?}: user {user} met {own:?}");
            seen.extend(own);
        }
        assert!(seen.len() > 2, "{lb:?}: users met {seen:?}");
    }
}

#[tokio::test]
async fn a_cookie_is_made_and_keeps_the_endpoint() {
    let cookie = Cookie {
        name: "stick".to_owned(),
        ttl: Some(Duration { seconds: 60, nanos: 0 }),
        path: "/".to_owned(),
        attributes: vec![],
    };
    let (gateway, _origins) =
        by(vec![policy(PolicySpecifier::Cookie(cookie))], cluster_pb::LbPolicy::RingHash).await;
    let mut client = Client::http1(gateway.address).await;
    let first = client.get("/").await;
    let set = first.headers["set-cookie"].to_str().unwrap().to_owned();
    let (value, rest) = set.split_once(';').unwrap();
    assert_eq!(rest, " Max-Age=60; Path=/; HttpOnly");
    for _ in 0..10 {
        let request = Request::get("/").header("host", "a.example").header("cookie", format!("a=b; {value}"));
        let next =
            Client::http1(gateway.address).await.send(request.body(crate::origin::full("")).unwrap()).await;
        assert_eq!((next.body, next.headers.get("set-cookie")), (first.body.clone(), None));
    }
}

fn lb_metadata(version: &str) -> Option<Metadata> {
    let value = Value { kind: Some(Kind::StringValue(version.to_owned())) };
    let fields = Struct { fields: HashMap::from([("version".to_owned(), value)]).into_iter().collect() };
    Some(Metadata {
        filter_metadata: HashMap::from([("envoy.lb".to_owned(), fields)]).into_iter().collect(),
        ..Metadata::default()
    })
}

#[tokio::test]
async fn a_weighted_cluster_asks_for_a_subset() {
    let origins = origins(3).await;
    let mut subsets = cluster("one", &[]);
    let assignment = subsets.load_assignment.as_mut().unwrap();
    assignment.endpoints[0].lb_endpoints = origins
        .iter()
        .zip(["a", "a", "b"])
        .map(|(origin, version)| LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
                address: address(origin.address),
                ..Default::default()
            })),
            metadata: lb_metadata(version),
            ..Default::default()
        })
        .collect();
    subsets.lb_subset_config = Some(cluster_pb::LbSubsetConfig {
        subset_selectors: vec![cluster_pb::lb_subset_config::LbSubsetSelector {
            keys: vec!["version".to_owned()],
            ..Default::default()
        }],
        ..Default::default()
    });
    let part = |version: &str| ClusterWeight {
        name: "one".to_owned(),
        weight: Some(UInt32Value { value: 1 }),
        metadata_match: lb_metadata(version),
        ..Default::default()
    };
    let weighted = |parts: Vec<ClusterWeight>| RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: parts,
            ..Default::default()
        })),
        ..Default::default()
    };
    let plain = RouteAction { metadata_match: lb_metadata("x"), ..to("one") };
    let routes = vec![
        route("/a", weighted(vec![part("a")])),
        route("/b", weighted(vec![part("b")])),
        route("/x", plain),
    ];
    let gateway = Gateway::plain(vec![host(routes)], vec![subsets]).await;
    let mut client = Client::http1(gateway.address).await;
    for (path, expected) in [("/a", vec!["0", "1"]), ("/b", vec!["2"])] {
        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            seen.insert(client.get(path).await.body);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    }
    assert_eq!(client.get("/x").await.status, 503);
}
