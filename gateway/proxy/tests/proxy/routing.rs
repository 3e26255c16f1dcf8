// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which upstream a request goes to, and what is answered where it goes to none.

use crate::client::{Client, get};
use crate::config::{chain, cluster, host, http, listener, prefix, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody};
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, Route, RouteAction, VirtualHost, WeightedCluster, redirect_action,
    route as action, route_action, virtual_host, weighted_cluster,
};
use gateway_xds_api::pb::google::protobuf::UInt32Value;
use http::{Method, Request, StatusCode};

#[tokio::test]
async fn hosts_and_paths_choose_the_upstream() {
    let (one, two) = (Origin::named("one").await, Origin::named("two").await);
    let exact = VirtualHost {
        name: "exact".to_owned(),
        domains: vec!["b.example".to_owned()],
        routes: vec![route("/", to("two"))],
        ..Default::default()
    };
    let hosts = vec![host(vec![route("/two", to("two")), route("/one", to("one"))]), exact];
    let gateway =
        Gateway::plain(hosts, vec![cluster("one", &[one.address]), cluster("two", &[two.address])]).await;
    let mut client = Client::http1(gateway.address).await;
    for (target, host, expected) in [
        ("/one", "a.example", "one"),
        ("/one/x?y", "a.example", "one"),
        ("/two", "a.example", "two"),
        ("/one", "b.example", "two"),
        ("/one", "B.EXAMPLE", "two"),
        ("/a/../one", "a.example", "one"),
    ] {
        let answer = client.send(Request::get(target).header("host", host).body(full("")).unwrap()).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, expected), "{host}{target}");
        assert_eq!(answer.header("server"), Some("gatefleet"));
    }
    let answer = client.get("/three").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NOT_FOUND, ""));
    assert_eq!(gateway.metric("envoy_http_no_route", ""), 1);
    assert_eq!(gateway.metric("envoy_http_downstream_rq_total", ""), 7);
    assert_eq!(gateway.metric("envoy_http_downstream_rq_xx", "class=\"2\""), 6);
    assert_eq!(gateway.metric("envoy_cluster_upstream_rq_xx", "class=\"2\",envoy_cluster_name=\"two\""), 3);
}

#[tokio::test]
async fn weights_hold_within_tolerance_and_a_missing_cluster_takes_its_share() {
    let (one, two) = (Origin::named("one").await, Origin::named("two").await);
    let weighted = |name: &str, weight| weighted_cluster::ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value: weight }),
        ..Default::default()
    };
    let clusters = WeightedCluster {
        clusters: vec![weighted("one", 5), weighted("two", 3), weighted("gone", 2)],
        ..Default::default()
    };
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::WeightedClusters(clusters)),
        cluster_not_found_response_code: route_action::ClusterNotFoundResponseCode::InternalServerError
            .into(),
        ..Default::default()
    };
    let clusters = vec![cluster("one", &[one.address]), cluster("two", &[two.address])];
    let gateway = Gateway::plain(vec![host(vec![route("/", action)])], clusters).await;
    let mut client = Client::http1(gateway.address).await;
    let mut counts = [0_usize; 3];
    for _ in 0..1000 {
        let answer = client.get("/").await;
        let at = match (answer.status.as_u16(), answer.body.as_str()) {
            (200, "one") => 0,
            (200, "two") => 1,
            (500, "") => 2,
            other => panic!("{other:?}"),
        };
        counts[at] += 1;
    }
    for (count, expected) in counts.iter().zip([500_usize, 300, 200]) {
        assert!(count.abs_diff(expected) < 80, "{counts:?}");
    }
}

#[tokio::test]
async fn redirects_and_direct_responses_need_no_upstream() {
    let redirect = |path: &str, redirect: RedirectAction| Route {
        name: path.to_owned(),
        r#match: prefix(path),
        action: Some(action::Action::Redirect(redirect)),
        ..Default::default()
    };
    let text = DataSource {
        specifier: Some(data_source::Specifier::InlineString("hello".to_owned())),
        ..Default::default()
    };
    let direct = Route {
        name: "direct".to_owned(),
        r#match: prefix("/direct"),
        action: Some(action::Action::DirectResponse(DirectResponseAction {
            status: 418,
            body: Some(text),
            ..Default::default()
        })),
        ..Default::default()
    };
    let to_https = RedirectAction {
        scheme_rewrite_specifier: Some(redirect_action::SchemeRewriteSpecifier::HttpsRedirect(true)),
        ..Default::default()
    };
    let elsewhere = RedirectAction {
        host_redirect: "b.example".to_owned(),
        port_redirect: 8443,
        path_rewrite_specifier: Some(redirect_action::PathRewriteSpecifier::PrefixRewrite("/new".to_owned())),
        response_code: redirect_action::RedirectResponseCode::PermanentRedirect.into(),
        ..Default::default()
    };
    let gateway = Gateway::plain(
        vec![host(vec![redirect("/https", to_https), redirect("/old", elsewhere), direct])],
        vec![],
    )
    .await;
    for (target, status, location, body) in [
        ("/https/x?y=z", 301, Some("https://a.example/https/x?y=z"), ""),
        ("/old/x?y=z", 308, Some("http://b.example:8443/new/x?y=z"), ""),
        ("/direct", 418, None, "hello"),
    ] {
        let answer = get(gateway.address, target).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location"), answer.body.as_str()),
            (status, location, body),
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_host_that_demands_tls_redirects_plain_text() {
    let strict = VirtualHost {
        require_tls: virtual_host::TlsRequirementType::All.into(),
        ..host(vec![route("/", to("gone"))])
    };
    let gateway = Gateway::plain(vec![strict], vec![]).await;
    let answer = get(gateway.address, "/x?y").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (301, Some("https://a.example/x?y")));
}

#[tokio::test]
async fn failures_are_answered_in_envoys_words() {
    let dead = nobody().await;
    let hosts = vec![host(vec![
        route("/empty", to("empty")),
        route("/dead", to("dead")),
        route("/gone", to("gone")),
    ])];
    let gateway = Gateway::plain(hosts, vec![cluster("empty", &[]), cluster("dead", &[dead])]).await;
    for (target, status, body) in [
        ("/empty", 503, "no healthy upstream"),
        (
            "/dead",
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        ),
        ("/gone", 503, ""),
    ] {
        let answer = get(gateway.address, target).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, body), "{target}");
    }
    // The same for gRPC, as gRPC says it.
    let mut client = Client::http2(gateway.address).await;
    let request = Request::post("http://a.example/empty")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let answer = client.send(request.body(full("")).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("14")));
    assert_eq!(answer.header("grpc-message"), Some("no healthy upstream"));
}

#[tokio::test]
async fn paths_that_servers_read_differently_are_refused_and_connect_has_no_route() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    for target in ["/a%00b", "/a%2", "/a%zz"] {
        let answer = get(gateway.address, target).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{target}");
        // Who sends such a path may have framed it in another way than we read it.
        assert_eq!(answer.header("connection"), Some("close"), "{target}");
    }
    let mut client = Client::http1(gateway.address).await;
    let connect =
        Request::builder().method(Method::CONNECT).uri("a.example:443").header("host", "a.example:443");
    assert_eq!(client.send(connect.body(full("")).unwrap()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(origin.count(), 0);
    let answer = get(gateway.address, "/a/./b/%2e%2e/c%2Fd//e?q=/../%2e").await;
    assert_eq!(answer.lines("GET"), ["GET /a/c%2Fd/e?q=/../%2e HTTP/1.1"]);
}

#[tokio::test]
async fn a_change_of_routes_shows_at_once_on_open_connections() {
    let (one, two) = (Origin::named("one").await, Origin::named("two").await);
    let clusters = vec![cluster("one", &[one.address]), cluster("two", &[two.address])];
    let mut gateway = Gateway::plain(vec![host(vec![route("/", to("one"))])], clusters).await;
    let (mut first, mut second) =
        (Client::http1(gateway.address).await, Client::http2(gateway.address).await);
    for _ in 0..20 {
        for name in ["two", "one"] {
            gateway.change(&listener(vec![chain(&http(vec![host(vec![route("/", to(name))])]))])).await;
            assert_eq!(first.get("/").await.body, name);
            assert_eq!(second.get("/").await.body, name);
        }
    }
    assert_eq!(gateway.metric("envoy_http_downstream_cx_total", ""), 2);
}
