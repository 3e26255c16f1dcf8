// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What connections are made of: sockets by metadata, PROXY protocol headers, proxies in between, source addresses.

use crate::tls::{Authority, encrypted};
use crate::{Worker, body_text, by_priority, closed_address, cluster, endpoint, endpoints, get, run, server};
use gateway_config::UpstreamProtocol::Http1;
use gateway_config::{
    Cluster, ConnectProxy, LbMetadata, LoadBalancing, ProxyHeader, ProxyHeaderVersion, SocketMatch,
    UpstreamSocket,
};
use gateway_upstream::{Client, PickContext, SendErrorKind};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

fn mode(value: &str) -> LbMetadata {
    LbMetadata::from_strings(&[("tlsMode", value)])
}

#[test]
fn metadata_decides_on_the_socket() {
    run(async {
        let authority = Authority::new();
        let plain = server::start(false, 1).await;
        let by_endpoint = server::start_tls(false, authority.server("backend.example", &[])).await;
        let by_locality = server::start_tls(false, authority.server("backend.example", &[])).await;
        let own = encrypted(Http1, Some(authority.roots()), Some("backend.example")).socket;
        let settings = Cluster {
            socket_matches: [
                SocketMatch { name: "mesh".into(), criteria: mode("istio"), socket: own },
                SocketMatch { name: "any".into(), criteria: mode("x"), socket: UpstreamSocket::default() },
            ]
            .into(),
            ..cluster(Http1)
        };
        let mut meshed = endpoint(by_endpoint.address);
        meshed.socket_metadata = mode("istio");
        let mut all =
            by_priority([vec![endpoint(plain.address), meshed], vec![endpoint(by_locality.address)]]);
        all.localities[1].socket_metadata = mode("istio");
        all.localities[1].priority = 0;
        let worker = Worker::new(settings, all);
        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            seen.insert(worker.text("/").await);
        }
        let expected = [&plain, &by_endpoint, &by_locality].map(|server| server.address.to_string());
        assert_eq!(seen, BTreeSet::from(expected));
        assert_eq!(worker.metric("upstream_cx_connect_fail"), 0);
    });
}

/// Answers with the PROXY protocol line that the connection began with.
async fn tells_the_line() -> server::Server {
    server::start_raw(async |mut stream| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            match stream.read_u8().await {
                Ok(byte) => line.push(byte),
                Err(_) => return,
            }
        }
        let line = String::from_utf8(line).unwrap();
        while server::read_head(&mut stream).await {
            server::answer(&mut stream, line.trim_end()).await;
        }
    })
    .await
}

fn with_header(version: ProxyHeaderVersion) -> Cluster {
    let proxy_protocol = Some(ProxyHeader { version, tlvs: Box::default() });
    Cluster { socket: UpstreamSocket { proxy_protocol, ..UpstreamSocket::default() }, ..cluster(Http1) }
}

fn client(id: u64, port: u16) -> Option<Client> {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let mut remote = address("192.0.2.7:0");
    remote.set_port(port);
    Some(Client { id, remote, local: address("192.0.2.1:443") })
}

#[test]
fn the_endpoint_is_told_the_client() {
    run(async {
        let server = tells_the_line().await;
        let worker = Worker::new(with_header(ProxyHeaderVersion::V1), endpoints(&[server.address]));
        let told = async |client| {
            let context = PickContext { client, ..PickContext::default() };
            body_text(worker.send_as(get("/"), &context).await.unwrap()).await
        };
        for _ in 0..2 {
            assert_eq!(told(client(1, 1000)).await, "PROXY TCP4 192.0.2.7 192.0.2.1 1000 443");
            assert_eq!(told(client(2, 2000)).await, "PROXY TCP4 192.0.2.7 192.0.2.1 2000 443");
        }
        assert_eq!(server.connections(), 2, "one for each client, kept");
        let own = told(None).await;
        assert!(own.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{own}");
    });
}

#[test]
fn version_2_goes_in_front_of_tls() {
    run(async {
        let authority = Authority::new();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server("backend.example", &[])));
        let server = server::start_raw(move |mut stream| {
            let acceptor = acceptor.clone();
            async move {
                let mut header = [0; 28];
                stream.read_exact(&mut header).await.unwrap();
                assert_eq!(&header[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 1, 187]);
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    seen.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                stream.flush().await.unwrap();
            }
        })
        .await;
        let tls = encrypted(Http1, Some(authority.roots()), Some("backend.example")).socket.tls;
        let mut settings = with_header(ProxyHeaderVersion::V2);
        settings.socket.tls = tls;
        let worker = Worker::new(settings, endpoints(&[server.address]));
        let context = PickContext { client: client(1, 1000), ..PickContext::default() };
        assert_eq!(body_text(worker.send_as(get("/"), &context).await.unwrap()).await, "ok");
    });
}

#[test]
fn clients_may_keep_their_own_connections() {
    run(async {
        for own_connections in [false, true] {
            let server = server::start(false, 1).await;
            let settings = Cluster { own_connections, ..cluster(Http1) };
            let worker = Worker::new(settings, endpoints(&[server.address]));
            for id in [1, 2, 1, 2] {
                let context = PickContext { client: client(id, 1000), ..PickContext::default() };
                body_text(worker.send_as(get("/"), &context).await.unwrap()).await;
            }
            assert_eq!(server.connections(), if own_connections { 2 } else { 1 });
        }
    });
}

/// A proxy that leads everywhere, or nowhere where it answers otherwise than 200.
async fn connect_proxy(status: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target: SocketAddr =
                    head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().parse().unwrap();
                assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
                client
                    .write_all(format!("HTTP/1.1 {status}\r\nvia: proxy\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                if status.starts_with("200") {
                    let mut endpoint = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut endpoint).await;
                }
            });
        }
    });
    (address, asked)
}

#[test]
fn the_way_leads_through_a_proxy() {
    run(async {
        let authority = Authority::new();
        let server = server::start_tls(false, authority.server("backend.example", &[])).await;
        let through = |default| {
            let mut settings = encrypted(Http1, Some(authority.roots()), Some("backend.example"));
            settings.socket.connect_proxy = Some(ConnectProxy { default });
            settings
        };
        let (proxy, asked) = connect_proxy("200 OK").await;
        let worker = Worker::new(through(Some(proxy)), endpoints(&[server.address]));
        assert_eq!(worker.text("/").await, server.address.to_string());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // The endpoint's own proxy comes first; without any the way is direct.
        let mut own = endpoint(server.address);
        own.connect_proxy = Some(proxy);
        let worker = Worker::new(through(Some(closed_address().await)), by_priority([vec![own]]));
        assert_eq!(worker.text("/").await, server.address.to_string());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let worker = Worker::new(through(None), endpoints(&[server.address]));
        assert_eq!(worker.text("/").await, server.address.to_string());
        let (refusing, _) = connect_proxy("403 Forbidden").await;
        let worker = Worker::new(through(Some(refusing)), endpoints(&[server.address]));
        let error = worker.send(get("/")).await.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Connect);
        assert!(
            std::error::Error::source(&error).unwrap().to_string().contains("403 Forbidden"),
            "{error:?}"
        );
    });
}

#[test]
fn connections_come_from_the_configured_address() {
    run(async {
        let server = server::start_raw(async |mut stream| {
            let peer = stream.peer_addr().unwrap();
            while server::read_head(&mut stream).await {
                server::answer(&mut stream, &peer.ip().to_string()).await;
            }
        })
        .await;
        let sources = ["[::1]:0", "127.0.0.2:0", "127.0.0.3:0"].map(|text| text.parse().unwrap());
        let settings = Cluster { source_addresses: sources.into(), ..cluster(Http1) };
        let worker = Worker::new(settings, endpoints(&[server.address]));
        assert_eq!(worker.text("/").await, "127.0.0.2");
    });
}

#[test]
fn a_change_of_hosts_may_drain_all() {
    run(async {
        for drain_on_change in [false, true] {
            let (kept, other) = (server::start(false, 1).await, closed_address().await);
            let balancing = LoadBalancing { drain_on_change, ..LoadBalancing::default() };
            let settings = Cluster { balancing, ..cluster(Http1) };
            let worker = Worker::new(settings.clone(), endpoints(&[kept.address]));
            worker.text("/").await;
            let mut both = by_priority([vec![endpoint(kept.address)], vec![endpoint(other)]]);
            worker.set(settings.clone(), both.clone());
            worker.text("/").await;
            assert_eq!(kept.connections(), if drain_on_change { 2 } else { 1 });
            // What is no other host drains nothing.
            both.localities[0].endpoints[0].weight = 2;
            worker.set(settings, both);
            worker.text("/").await;
            assert_eq!(kept.connections(), if drain_on_change { 2 } else { 1 });
        }
    });
}
