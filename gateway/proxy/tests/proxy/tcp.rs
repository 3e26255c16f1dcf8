// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Plain bytes, filter chains of several kinds on one port, the PROXY protocol.

use crate::client::Client;
use crate::config::{
    Certificate, Resources, any, chain, cluster, host, http, listener, route, time, tls_chain, to,
};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, nobody};
use crate::tls::{connect, trusting};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter, filter, listener_filter,
};
use gateway_xds_api::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use gateway_xds_api::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use gateway_xds_api::pb::google::protobuf::UInt32Value;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Says its name, then gives back what comes until the client ends, then says bye.
async fn echo(name: &'static str, tls: Option<&Certificate>) -> SocketAddr {
    let acceptor = tls.map(|certificate| {
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => converse(stream, name).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            converse(stream, name).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn converse(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, name: &str) {
    let _ = stream.write_all(name.as_bytes()).await;
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"bye").await;
    let _ = stream.shutdown().await;
}

fn tcp(cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: "bytes".to_owned(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    }
}

fn tcp_chain(proxy: &TcpProxy, matches: FilterChainMatch) -> FilterChain {
    FilterChain {
        filters: vec![Filter {
            name: "tcp".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(any(proxy))),
        }],
        filter_chain_match: Some(matches),
        ..FilterChain::default()
    }
}

fn names(names: &[&str]) -> FilterChainMatch {
    FilterChainMatch {
        server_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..FilterChainMatch::default()
    }
}

async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn bytes_pass_both_ways_until_each_side_has_ended() {
    let origin = echo("one:", None).await;
    let listener = listener(vec![tcp_chain(&tcp("one"), FilterChainMatch::default())]);
    let gateway = Gateway::listening(&listener, vec![cluster("one", &[origin])]).await;
    let (receive, mut send) = TcpStream::connect(gateway.address).await.unwrap().into_split();
    let large = "x".repeat(3 << 20);
    let sending = {
        let large = large.clone();
        tokio::spawn(async move {
            send.write_all(large.as_bytes()).await.unwrap();
            // The half that is closed ends the other side's reading, not its writing.
            send.shutdown().await.unwrap();
            send
        })
    };
    assert!(read_all(receive).await == format!("one:{large}bye"), "bytes were lost");
    drop(sending.await.unwrap());
    gateway
        .until("the connection to end", |g| g.metric("envoy_cluster_upstream_cx_active", "one") == 0)
        .await;
    assert_eq!(gateway.metric("envoy_tcp_downstream_cx_total", "bytes"), 1);
    assert_eq!(gateway.metric("envoy_tcp_downstream_cx_rx_bytes_total", "bytes"), 3 << 20);
    assert_eq!(gateway.metric("envoy_tcp_downstream_cx_tx_bytes_total", "bytes"), (3 << 20) + 7);
}

#[tokio::test]
async fn http_terminated_and_passed_through_share_one_port() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (own, gate) =
        (Certificate::new(&["through.example"]), Certificate::new(&["gate.example", "bytes.example"]));
    let (web, inner, behind) =
        (Origin::echo().await, echo("inner:", Some(&own)).await, echo("bytes:", None).await);
    let mut resources = Resources::default();
    resources.clusters([
        cluster("web", &[web.address]),
        cluster("inner", &[inner]),
        cluster("behind", &[behind]),
    ]);
    resources.certificate("gate", &gate);
    let settings = http(vec![host(vec![route("/", to("web"))])]);
    let mut terminated = tls_chain(&settings, &["bytes.example"], "gate");
    terminated.filters = tcp_chain(&tcp("behind"), FilterChainMatch::default()).filters;
    let chains = vec![
        chain(&settings),
        tls_chain(&settings, &["gate.example"], "gate"),
        terminated,
        tcp_chain(&tcp("inner"), names(&["through.example"])),
    ];
    let gateway = Gateway::start(options(), resources, &listener(chains)).await;

    assert_eq!(Client::http1(gateway.address).await.get("/plain").await.lines("GET").len(), 1);
    let stream = connect(&gateway, "gate.example", &trusting(&[&gate], &["http/1.1"])).await.unwrap();
    assert_eq!(Client::http1_over(stream).await.get("/tls").await.lines("GET"), ["GET /tls HTTP/1.1"]);
    for (name, certificate, expected) in
        [("through.example", &own, "inner:hibye"), ("bytes.example", &gate, "bytes:hibye")]
    {
        let mut stream = connect(&gateway, name, &trusting(&[certificate], &[])).await.unwrap();
        stream.write_all(b"hi").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, expected);
    }
    // Nobody takes this name: the chain without conditions is plain text, and answers in plain text.
    assert!(connect(&gateway, "other.example", &trusting(&[&gate], &[])).await.is_err());
}

#[tokio::test]
async fn another_host_is_tried_and_a_silent_connection_ends() {
    let origin = echo("two:", None).await;
    let proxy = TcpProxy {
        max_connect_attempts: Some(UInt32Value { value: 3 }),
        idle_timeout: time(Duration::from_millis(200)),
        ..tcp("one")
    };
    let listener = listener(vec![tcp_chain(&proxy, FilterChainMatch::default())]);
    let gateway = Gateway::listening(&listener, vec![cluster("one", &[nobody().await, origin])]).await;
    for _ in 0..4 {
        let start = Instant::now();
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        assert_eq!(read_all(stream).await, "two:");
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
    assert_eq!(gateway.metric("envoy_tcp_idle_timeout", ""), 4);
    assert!(gateway.metric("envoy_cluster_upstream_cx_connect_fail", "one") >= 1);
}

#[tokio::test]
async fn nowhere_to_go_closes_the_connection() {
    let listener = listener(vec![tcp_chain(&tcp("gone"), FilterChainMatch::default())]);
    let gateway = Gateway::listening(&listener, vec![]).await;
    assert_eq!(read_all(TcpStream::connect(gateway.address).await.unwrap()).await, "");
    assert_eq!(gateway.metric("envoy_tcp_downstream_cx_no_route", ""), 1);
}

fn proxied(settings: &ProxyProtocol, chains: Vec<FilterChain>) -> Listener {
    let filter = ListenerFilter {
        name: "proxy".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(settings))),
        ..ListenerFilter::default()
    };
    Listener { listener_filters: vec![filter], ..listener(chains) }
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x02\x13\x88\x01\xbb";

async fn ask(gateway: &Gateway, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    for piece in pieces {
        let _ = stream.write_all(piece).await;
        let _ = stream.flush().await;
        tokio::task::yield_now().await;
    }
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_header_before_the_bytes_tells_the_client() {
    let origin = Origin::echo().await;
    let settings = http(vec![host(vec![route("/", to("one"))])]);
    let listener = proxied(&ProxyProtocol::default(), vec![chain(&settings)]);
    let gateway = Gateway::listening(&listener, vec![cluster("one", &[origin.address])]).await;
    let text = b"PROXY TCP4 192.0.2.7 198.51.100.2 5000 443\r\n";
    for pieces in [&[&text[..]][..], &[&text[..10], &text[10..]], &[V2], &[&V2[..3], &V2[3..20], &V2[20..]]] {
        let answer = ask(&gateway, pieces).await;
        assert!(answer.contains("x-forwarded-for: 192.0.2.7\n"), "{answer}");
    }
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert!(ask(&gateway, &[local]).await.contains("x-forwarded-for: 127.0.0.1\n"));
    assert_eq!(origin.count(), 5);
    for broken in [&b""[..], b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"] {
        assert_eq!(ask(&gateway, &[broken]).await, "");
    }
    assert_eq!(gateway.metric("envoy_listener_proxy_proto_invalid", ""), 3);
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn where_it_is_optional_both_come_in_and_a_refused_version_does_not() {
    let origin = Origin::echo().await;
    let settings = http(vec![host(vec![route("/", to("one"))])]);
    let lax = ProxyProtocol {
        allow_requests_without_proxy_protocol: true,
        // The text form.
        disallowed_versions: vec![0],
        ..ProxyProtocol::default()
    };
    let gateway =
        Gateway::listening(&proxied(&lax, vec![chain(&settings)]), vec![cluster("one", &[origin.address])])
            .await;
    assert!(ask(&gateway, &[]).await.contains("x-forwarded-for: 127.0.0.1\n"));
    assert!(ask(&gateway, &[V2]).await.contains("x-forwarded-for: 192.0.2.7\n"));
    assert_eq!(ask(&gateway, &[b"PROXY TCP4 192.0.2.7 198.51.100.2 5000 443\r\n"]).await, "");
}

#[tokio::test]
async fn the_told_address_chooses_the_chain() {
    let (one, two) = (Origin::named("one").await, Origin::named("two").await);
    let to_one = http(vec![host(vec![route("/", to("one"))])]);
    let to_two = http(vec![host(vec![route("/", to("two"))])]);
    let range = gateway_xds_api::pb::envoy::config::core::v3::CidrRange {
        address_prefix: "192.0.2.0".to_owned(),
        prefix_len: Some(UInt32Value { value: 24 }),
    };
    let special = FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            source_prefix_ranges: vec![range],
            ..FilterChainMatch::default()
        }),
        ..chain(&to_two)
    };
    let lax = ProxyProtocol { allow_requests_without_proxy_protocol: true, ..ProxyProtocol::default() };
    let clusters = vec![cluster("one", &[one.address]), cluster("two", &[two.address])];
    let gateway = Gateway::listening(&proxied(&lax, vec![chain(&to_one), special]), clusters).await;
    assert!(ask(&gateway, &[V2]).await.ends_with("two"));
    assert!(ask(&gateway, &[]).await.ends_with("one"));
}
