// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Datagrams: sessions and where they go, when they end, what limits them.

use crate::config::{Resources, any, cluster, listener_named, log_to, time};
use crate::gateway::{Gateway, options};
use gateway_proxy::{ConnectionLimits, ProxyOptions};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::accesslog::v3::access_log;
use gateway_xds_api::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, circuit_breakers::Thresholds, cluster::LbPolicy,
};
use gateway_xds_api::pb::envoy::config::core::v3::{HealthStatus, address, socket_address::Protocol};
use gateway_xds_api::pb::envoy::config::listener::v3::{Listener, ListenerFilter, listener_filter};
use gateway_xds_api::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use gateway_xds_api::pb::envoy::extensions::filters::udp::udp_proxy::v3::udp_proxy_config::{
    HashPolicy, RouteSpecifier, hash_policy::PolicySpecifier,
};
use gateway_xds_api::pb::envoy::extensions::filters::udp::udp_proxy::v3::{Route, UdpProxyConfig};
use gateway_xds_api::pb::google::protobuf::UInt32Value;
use gateway_xds_api::pb::xds::core::v3::TypedExtensionConfig;
use gateway_xds_api::pb::xds::r#type::matcher::v3::{Matcher, matcher};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Answers each datagram with its name, the sender's port and the datagram.
async fn echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = format!("{name} {} ", from.port()).into_bytes();
            answer.extend_from_slice(&buffer[..length]);
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

fn proxy(cluster: &str) -> UdpProxyConfig {
    let route = any(&Route { cluster: cluster.to_owned() });
    let action = TypedExtensionConfig { name: "route".to_owned(), typed_config: Some(route) };
    let found =
        matcher::OnMatch { keep_matching: false, on_match: Some(matcher::on_match::OnMatch::Action(action)) };
    let matcher = Matcher { on_no_match: Some(Box::new(found)), matcher_type: None };
    UdpProxyConfig {
        stat_prefix: "datagrams".to_owned(),
        route_specifier: Some(RouteSpecifier::Matcher(matcher)),
        ..UdpProxyConfig::default()
    }
}

fn on(address: &str, proxy: &UdpProxyConfig) -> Listener {
    let mut listener = listener_named("datagrams", Vec::new());
    listener.address = crate::config::address(address.parse().unwrap());
    let inner = listener.address.as_mut().and_then(|address| address.address.as_mut());
    if let Some(address::Address::SocketAddress(socket)) = inner {
        socket.protocol = Protocol::Udp.into();
    }
    listener.listener_filters = vec![ListenerFilter {
        name: "udp".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(proxy))),
        ..ListenerFilter::default()
    }];
    listener
}

fn listening(proxy: &UdpProxyConfig) -> Listener {
    on("127.0.0.1:0", proxy)
}

struct Client(UdpSocket);

impl Client {
    async fn to(address: SocketAddr) -> Self {
        let from: IpAddr = if address.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap();
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        Self(socket)
    }

    /// The answer's words; none where there is no answer.
    async fn ask(&self, text: &str) -> Option<Vec<String>> {
        // A socket that is closed on the other side says so once.
        if self.0.send(text.as_bytes()).await.is_err() {
            return None;
        }
        let mut buffer = vec![0; 65535];
        let received = timeout(Duration::from_millis(500), self.0.recv(&mut buffer)).await;
        let length = received.ok()?.ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        Some(text.split(' ').map(str::to_owned).collect())
    }

    /// The name of the endpoint that answers.
    async fn host(&self) -> String {
        self.ask("who").await.expect("an answer").swap_remove(0)
    }
}

async fn two() -> (SocketAddr, SocketAddr) {
    (echo("one").await, echo("two").await)
}

#[tokio::test]
async fn a_client_keeps_its_endpoint_and_clients_spread() {
    let (one, two) = two().await;
    let gateway = Gateway::listening(&listening(&proxy("hosts")), vec![cluster("hosts", &[one, two])]).await;
    let mut hosts = BTreeSet::new();
    for at in 0..8 {
        let client = Client::to(gateway.address).await;
        let first = client.ask("a").await.unwrap();
        assert_eq!(first[2], "a");
        for text in ["b", "", "c"] {
            let next = client.ask(text).await.unwrap();
            assert_eq!(next[..2], first[..2], "client {at} has another session");
            assert_eq!(next[2], text);
        }
        hosts.insert(first[0].clone());
    }
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    let number = |name: &str| gateway.metric(&format!("envoy_udp_{name}"), "\"datagrams\"");
    // Counted once the client has it.
    gateway.until("answers", |g| g.metric("envoy_udp_downstream_sess_tx_datagrams", "") == 32).await;
    assert_eq!((number("downstream_sess_total"), number("downstream_sess_active")), (8, 8));
    assert_eq!((number("downstream_sess_rx_datagrams"), number("downstream_sess_tx_datagrams")), (32, 32));
    assert_eq!(number("downstream_sess_rx_bytes"), 24);
    assert_eq!(gateway.metric("envoy_cluster_udp_sess_tx_datagrams", "hosts"), 32);
    assert_eq!(gateway.metric("envoy_cluster_udp_sess_rx_datagrams", "hosts"), 32);
    assert_eq!(gateway.proxy.listeners()[0].connections, 8);
}

#[tokio::test]
async fn an_endpoint_for_each_datagram() {
    let (one, two) = two().await;
    let proxy = UdpProxyConfig { use_per_packet_load_balancing: true, ..proxy("hosts") };
    let gateway = Gateway::listening(&listening(&proxy), vec![cluster("hosts", &[one, two])]).await;
    let client = Client::to(gateway.address).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(client.host().await);
    }
    let of_one = seen.iter().filter(|name| *name == "one").count();
    assert_eq!(of_one, 5, "they take turns: {seen:?}");
    assert_eq!(gateway.metric("envoy_udp_downstream_sess_total", ""), 2, "one for each endpoint");
}

#[tokio::test]
async fn clients_of_one_address_share_an_endpoint_by_hash() {
    let (one, two) = two().await;
    for policy in [PolicySpecifier::SourceIp(true), PolicySpecifier::Key("all".to_owned())] {
        let ring = Cluster { lb_policy: LbPolicy::RingHash.into(), ..cluster("hosts", &[one, two]) };
        let policies = vec![HashPolicy { policy_specifier: Some(policy) }];
        let proxy = UdpProxyConfig { hash_policies: policies, ..proxy("hosts") };
        let gateway = Gateway::listening(&listening(&proxy), vec![ring]).await;
        let mut hosts = BTreeSet::new();
        for _ in 0..8 {
            hosts.insert(Client::to(gateway.address).await.host().await);
        }
        assert_eq!(hosts.len(), 1);
    }
}

#[tokio::test]
async fn a_quiet_session_ends_and_is_logged() {
    let origin = echo("one").await;
    let folder = std::env::temp_dir().join(format!("gatefleet-udp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("access.log");
    let mut log = log_to(&path);
    let text = "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST% %ACCESS_LOG_TYPE% \
                %DYNAMIC_METADATA(udp.proxy.session:datagrams_received)% %REQ(:METHOD)% %DURATION%\n";
    #[allow(deprecated, reason = "the shortest form of a format")]
    let format = file_access_log::AccessLogFormat::Format(text.to_owned());
    let file = FileAccessLog { path: path.to_str().unwrap().to_owned(), access_log_format: Some(format) };
    log.config_type = Some(access_log::ConfigType::TypedConfig(any(&file)));
    let proxy = UdpProxyConfig {
        idle_timeout: time(Duration::from_millis(300)),
        access_log: vec![log],
        ..proxy("hosts")
    };
    let gateway = Gateway::listening(&listening(&proxy), vec![cluster("hosts", &[origin])]).await;
    let client = Client::to(gateway.address).await;
    let first = client.ask("a").await.unwrap();
    // What passes keeps it alive.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!(client.ask("a").await.unwrap()[1], first[1]);
    }
    gateway.until("the session to end", |g| g.metric("envoy_udp_downstream_sess_active", "") == 0).await;
    assert_eq!(gateway.metric("envoy_udp_idle_timeout", ""), 1);
    assert_eq!(gateway.metric("envoy_cluster_upstream_cx_active", "hosts"), 0);
    assert_eq!(gateway.proxy.connections(), 0);
    assert_ne!(client.ask("a").await.unwrap()[1], first[1], "a session of its own");
    let sent = 5 * format!("one {} a", first[1]).len();
    let mut line = String::new();
    for _ in 0..100 {
        line = std::fs::read_to_string(&path).unwrap_or_default();
        if line.ends_with('\n') {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (said, duration) = line.trim_end().rsplit_once(' ').unwrap();
    assert_eq!(said, format!("0 - 5 {sent} {origin} UdpSessionEnd 5 -"));
    assert!((780..5000).contains(&duration.parse::<u64>().unwrap()), "{duration}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn sessions_are_limited_by_cluster_source_and_listener() {
    let origin = echo("one").await;
    let threshold = Thresholds { max_connections: Some(UInt32Value { value: 2 }), ..Thresholds::default() };
    let narrow = Cluster {
        circuit_breakers: Some(CircuitBreakers { thresholds: vec![threshold], ..CircuitBreakers::default() }),
        ..cluster("hosts", &[origin])
    };
    let limits = ConnectionLimits::default();
    for (limits, cluster, counted) in [
        (limits, narrow, "envoy_cluster_upstream_cx_overflow"),
        (
            ConnectionLimits { source: 2, ..limits },
            cluster("hosts", &[origin]),
            "gatefleet_listener_source_overflow_total",
        ),
        (
            ConnectionLimits { listener: 2, ..limits },
            cluster("hosts", &[origin]),
            "envoy_listener_downstream_cx_overflow",
        ),
        (
            ConnectionLimits { process: 2, ..limits },
            cluster("hosts", &[origin]),
            "envoy_listener_downstream_global_cx_overflow",
        ),
    ] {
        let mut resources = Resources::default();
        resources.clusters([cluster]);
        let proxy = UdpProxyConfig { idle_timeout: time(Duration::from_millis(900)), ..proxy("hosts") };
        let options = ProxyOptions { connections: limits, ..options() };
        let gateway = Gateway::start(options, resources, &listening(&proxy)).await;
        let (first, second) = (Client::to(gateway.address).await, Client::to(gateway.address).await);
        assert_eq!((first.host().await, second.host().await), ("one".to_owned(), "one".to_owned()));
        let third = Client::to(gateway.address).await;
        assert_eq!(third.ask("a").await, None, "{counted}");
        assert_eq!(gateway.metric(counted, ""), 1, "{counted}");
        assert_eq!(first.host().await, "one", "those that are there go on");
        gateway.until("sessions to end", |g| g.metric("envoy_udp_downstream_sess_active", "") == 0).await;
        assert_eq!(third.host().await, "one");
    }
}

#[tokio::test]
async fn an_endpoint_that_goes_takes_its_sessions_along() {
    let (one, two) = two().await;
    let mut gateway = Gateway::listening(&listening(&proxy("hosts")), vec![cluster("hosts", &[one])]).await;
    let client = Client::to(gateway.address).await;
    assert_eq!(client.host().await, "one");
    let snapshot = gateway.resources.set(ResourceType::Cluster, "hosts", &cluster("hosts", &[two]));
    gateway.proxy.install(snapshot).await.unwrap();
    gateway.until("the session to end", |g| g.metric("envoy_udp_downstream_sess_active", "") == 0).await;
    assert_eq!(client.host().await, "two");
    assert_eq!(gateway.metric("envoy_udp_idle_timeout", ""), 0);
    let snapshot = gateway.resources.remove(ResourceType::Cluster, "hosts");
    gateway.proxy.install(snapshot).await.unwrap();
    gateway.until("the session to end", |g| g.metric("envoy_udp_downstream_sess_active", "") == 0).await;
    assert_eq!(client.ask("a").await, None);
    assert_eq!(gateway.metric("envoy_udp_downstream_sess_no_route", ""), 1);
}

#[tokio::test]
async fn a_session_leaves_an_unhealthy_endpoint_where_there_is_a_better_one() {
    let (one, two) = two().await;
    let told = |health: [HealthStatus; 2]| {
        let mut cluster = cluster("hosts", &[one, two]);
        let endpoints = &mut cluster.load_assignment.as_mut().unwrap().endpoints[0].lb_endpoints;
        for (endpoint, health) in endpoints.iter_mut().zip(health) {
            endpoint.health_status = health.into();
        }
        cluster
    };
    let (good, bad) = (HealthStatus::Healthy, HealthStatus::Unhealthy);
    let mut gateway = Gateway::listening(&listening(&proxy("hosts")), vec![told([good, bad])]).await;
    let client = Client::to(gateway.address).await;
    assert_eq!(client.host().await, "one");
    for (health, expected) in [([bad, good], "two"), ([bad, bad], "two"), ([good, bad], "one")] {
        let snapshot = gateway.resources.set(ResourceType::Cluster, "hosts", &told(health));
        gateway.proxy.install(snapshot).await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.host().await, expected, "{health:?}");
        }
    }
}

#[tokio::test]
async fn sessions_outlive_a_change_of_the_listener_that_leads_to_the_same_place() {
    let (one, two) = two().await;
    let clusters = vec![cluster("hosts", &[one]), cluster("others", &[two])];
    let mut gateway = Gateway::listening(&listening(&proxy("hosts")), clusters).await;
    let client = Client::to(gateway.address).await;
    let before = client.ask("a").await.unwrap();
    let slower = UdpProxyConfig { idle_timeout: time(Duration::from_secs(90)), ..proxy("hosts") };
    gateway.change(&listening(&slower)).await;
    assert_eq!(client.ask("a").await.unwrap(), before);
    gateway.change(&listening(&proxy("others"))).await;
    assert_eq!(client.host().await, "two");
    assert_eq!(gateway.metric("envoy_udp_downstream_sess_active", ""), 1);
    let snapshot = gateway.resources.remove(ResourceType::Listener, "datagrams");
    gateway.proxy.install(snapshot).await.unwrap();
    gateway.until("the session to end", |g| g.metric("envoy_udp_downstream_sess_active", "") == 0).await;
    assert_eq!(client.ask("a").await, None);
    let free = UdpSocket::bind(gateway.address).await;
    assert!(free.is_ok(), "the socket is still open: {free:?}");
}

#[tokio::test]
async fn datagrams_that_are_too_large_are_dropped_and_counted() {
    let origin = echo("one").await;
    let gateway = Gateway::listening(&listening(&proxy("hosts")), vec![cluster("hosts", &[origin])]).await;
    let client = Client::to(gateway.address).await;
    assert_eq!(client.ask(&"x".repeat(1500)).await.unwrap()[2].len(), 1500);
    assert_eq!(client.ask(&"x".repeat(1501)).await, None);
    let name = "envoy_listener_udp_downstream_rx_datagram_dropped";
    assert_eq!(gateway.metric(name, &gateway.address.to_string().replace(':', "_")), 1);
    assert_eq!(gateway.metric("envoy_udp_downstream_sess_rx_datagrams", ""), 1);
}

#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let origin = echo("one").await;
    for (address, asked) in [("0.0.0.0:0", ["127.0.0.1", "127.0.0.77"]), ("[::]:0", ["127.0.0.78", "::1"])] {
        let gateway =
            Gateway::listening(&on(address, &proxy("hosts")), vec![cluster("hosts", &[origin])]).await;
        for asked in asked {
            // A connected socket takes answers from that address alone.
            let to = SocketAddr::new(asked.parse().unwrap(), gateway.address.port());
            let client = Client::to(to).await;
            assert_eq!(client.host().await, "one", "{asked} of {address}");
        }
        assert_eq!(gateway.metric("envoy_udp_downstream_sess_total", ""), 2);
    }
}

#[tokio::test]
async fn nobody_behind_it_is_an_error_and_no_end() {
    let origin = echo("one").await;
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = UdpProxyConfig { use_per_packet_load_balancing: true, ..proxy("hosts") };
    let gateway = Gateway::listening(&listening(&proxy), vec![cluster("hosts", &[origin, nobody])]).await;
    let client = Client::to(gateway.address).await;
    let mut answers = 0;
    for _ in 0..6 {
        answers += usize::from(client.ask("a").await.is_some());
    }
    assert_eq!(answers, 3);
    let errors = gateway.metric("envoy_cluster_udp_sess_rx_errors", "")
        + gateway.metric("envoy_cluster_udp_sess_tx_errors", "");
    assert!(errors >= 2, "{errors}");
}

#[tokio::test]
async fn a_drain_waits_until_sessions_are_quiet() {
    let origin = echo("one").await;
    let gateway = Gateway::listening(&listening(&proxy("hosts")), vec![cluster("hosts", &[origin])]).await;
    let client = Client::to(gateway.address).await;
    let late = Client::to(gateway.address).await;
    assert_eq!(client.host().await, "one");
    let drain = gateway.proxy.drain(Duration::from_secs(10));
    let asking = async {
        // Until new clients are refused, and beyond.
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(client.host().await, "one");
        }
        assert_eq!(late.ask("a").await, None);
    };
    let (report, ()) = tokio::join!(drain, asking);
    assert_eq!(report.forced, 0);
    assert!(report.took > Duration::from_millis(900) && report.took < Duration::from_secs(5), "{report:?}");
}

#[tokio::test]
async fn who_takes_the_place_takes_the_datagrams_too() {
    let (one, two) = two().await;
    let before = Gateway::listening(&listening(&proxy("hosts")), vec![cluster("hosts", &[one])]).await;
    let clients = [Client::to(before.address).await, Client::to(before.address).await];
    for client in &clients {
        assert_eq!(client.host().await, "one");
    }
    let place = on(&before.address.to_string(), &proxy("hosts"));
    let after = Gateway::listening(&place, vec![cluster("hosts", &[two])]).await;
    before.proxy.hand_over();
    before.until("sessions to end", |g| g.metric("envoy_udp_downstream_sess_active", "") == 0).await;
    for client in &clients {
        assert_eq!(client.host().await, "two");
    }
    assert_eq!(after.metric("envoy_udp_downstream_sess_active", ""), 2);
}
