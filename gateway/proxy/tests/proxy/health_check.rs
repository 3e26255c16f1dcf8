// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Health checks of the gateway itself: answered here, passed through, remembered, failing in a drain.

use crate::client::{Answer, Client};
use crate::config::{chain, cluster, filter, host, http, listener, route, time, to, yes};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, full};
use gateway_proxy::ProxyOptions;
use gateway_xds_api::pb::envoy::config::route::v3::{HeaderMatcher, header_matcher};
use gateway_xds_api::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use gateway_xds_api::pb::envoy::r#type::v3::Percent;
use gateway_xds_api::pb::google::protobuf::BoolValue;
use http::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

const CHECKED: &str = "x-envoy-upstream-healthchecked-cluster";

fn checks(pass_through: bool) -> HealthCheck {
    let path = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact("/healthz".to_owned())),
        ignore_case: false,
    };
    HealthCheck {
        pass_through_mode: Some(BoolValue { value: pass_through }),
        headers: vec![HeaderMatcher {
            name: ":path".to_owned(),
            header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::StringMatch(path)),
            ..HeaderMatcher::default()
        }],
        ..HealthCheck::default()
    }
}

/// A gateway before an origin that answers the status, and a cluster without endpoints.
async fn gateway(config: HealthCheck, status: Arc<AtomicU16>) -> (Gateway, Origin) {
    let origin = Origin::start(move |_| {
        let status = status.load(Ordering::SeqCst);
        async move { Response::builder().status(status).body(full("origin")).unwrap() }
    })
    .await;
    let mut settings = http(vec![host(vec![route("/", to("origin"))])]);
    settings.http_filters = vec![filter("health", &config), filter("router", &Router::default())];
    let mut resources = crate::config::Resources::default();
    resources.clusters([cluster("origin", &[origin.address]), cluster("empty", &[])]);
    let options = ProxyOptions { node_cluster: "eu".to_owned(), ..options() };
    (Gateway::start(options, resources, &listener(vec![chain(&settings)])).await, origin)
}

async fn ask(gateway: &Gateway, target: &str) -> Answer {
    Client::http1(gateway.address).await.get(target).await
}

#[tokio::test]
async fn the_gateway_answers_checks_itself_by_its_clusters() {
    for (clusters, status) in [
        (&[][..], 200),
        (&[("origin", 100.0)], 200),
        (&[("origin", 50.0), ("empty", 0.0)], 200),
        (&[("empty", 1.0)], 503),
        (&[("origin", 50.0), ("gone", 0.0)], 503),
    ] {
        let percent = |(name, value): &(&str, f64)| ((*name).to_owned(), Percent { value: *value });
        let mut config = checks(false);
        config.cluster_min_healthy_percentages = clusters.iter().map(percent).collect();
        let (gateway, origin) = gateway(config, Arc::new(AtomicU16::new(200))).await;
        let answer = ask(&gateway, "/healthz").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, ""), "{clusters:?}");
        assert_eq!((answer.header(CHECKED), origin.count()), (Some("eu"), 0));
        let answer = ask(&gateway, "/other").await;
        assert_eq!((answer.body.as_str(), answer.header(CHECKED)), ("origin", None));
    }
}

#[tokio::test]
async fn a_check_that_passes_through_is_remembered_where_asked_for() {
    for (cache, asked) in [(None, 3), (time(Duration::from_secs(60)), 1)] {
        let status = Arc::new(AtomicU16::new(503));
        let config = HealthCheck { cache_time: cache, pass_through_mode: yes(), ..checks(true) };
        let (gateway, origin) = gateway(config, Arc::clone(&status)).await;
        assert_eq!(ask(&gateway, "/healthz").await.status.as_u16(), 503);
        status.store(200, Ordering::SeqCst);
        let wanted = if asked == 1 { 503 } else { 200 };
        for _ in 0..2 {
            let answer = ask(&gateway, "/healthz").await;
            assert_eq!((answer.status.as_u16(), answer.header(CHECKED)), (wanted, Some("eu")));
        }
        assert_eq!(origin.count(), asked);
    }
}

#[tokio::test]
async fn checks_fail_while_the_gateway_drains_and_other_answers_say_so() {
    for pass_through in [false, true] {
        let (gateway, _origin) = gateway(checks(pass_through), Arc::new(AtomicU16::new(200))).await;
        let mut before = Client::http1(gateway.address).await;
        assert_eq!(before.get("/other").await.header("x-envoy-immediate-health-check-fail"), None);
        let seen = async {
            let limit = tokio::time::Instant::now() + Duration::from_secs(5);
            loop {
                assert!(tokio::time::Instant::now() < limit, "checks do not fail");
                let answer = ask(&gateway, "/healthz").await;
                if answer.status.as_u16() == 503 {
                    assert_eq!(answer.header(CHECKED), Some("eu"));
                    break;
                }
                tokio::task::yield_now().await;
            }
            before.get("/other").await
        };
        let (answer, _) = tokio::join!(seen, gateway.proxy.drain(Duration::from_secs(2)));
        assert_eq!(answer.body, "origin");
        assert_eq!(answer.header("x-envoy-immediate-health-check-fail"), Some("true"));
    }
}
