// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which chain takes a connection.

use super::{ChainFacts, ChainMatch, FilterChain, FilterChains, NetworkFilter, SameMatch};
use crate::{TcpCluster, TcpProxy};
use std::sync::Arc;

fn chain(name: &str, matches: ChainMatch) -> FilterChain {
    let proxy = TcpProxy {
        stat_prefix: "t".into(),
        clusters: [TcpCluster { name: name.into(), weight: 1 }].into(),
        idle_timeout: None,
        max_connect_attempts: 1,
        max_duration: None,
        hash_source_ip: false,
    };
    FilterChain {
        name: name.into(),
        matches,
        tls: None,
        gates: Box::default(),
        network: NetworkFilter::Tcp(Arc::new(proxy)),
        handshake_timeout: None,
    }
}

fn names(names: &[&str]) -> Box<[Box<str>]> {
    names.iter().map(|name| Box::from(*name)).collect()
}

fn facts<'a>(remote: &str, server_name: Option<&'a str>, alpn: &'a [Box<str>]) -> ChainFacts<'a> {
    let remote = remote.parse().unwrap();
    ChainFacts {
        local: "192.0.2.1:443".parse().unwrap(),
        remote,
        direct_remote: remote,
        server_name,
        tls: server_name.is_some(),
        application_protocols: alpn,
    }
}

#[test]
fn each_step_takes_the_most_specific_condition() {
    let nets = |text: &[&str]| text.iter().map(|net| net.parse().unwrap()).collect();
    let chains = vec![
        chain("any", ChainMatch::default()),
        chain("exact", ChainMatch { server_names: names(&["a.example"]), ..ChainMatch::default() }),
        chain("suffix", ChainMatch { server_names: names(&["*.example"]), ..ChainMatch::default() }),
        chain("deep", ChainMatch { server_names: names(&["*.b.example"]), ..ChainMatch::default() }),
        chain("h2", ChainMatch { application_protocols: names(&["h2"]), ..ChainMatch::default() }),
        chain("tls", ChainMatch { tls: Some(true), ..ChainMatch::default() }),
        chain("port", ChainMatch { destination_port: Some(8443), ..ChainMatch::default() }),
        chain("net", ChainMatch { sources: nets(&["198.51.100.0/24"]), ..ChainMatch::default() }),
        chain("host", ChainMatch { sources: nets(&["198.51.100.7/32"]), ..ChainMatch::default() }),
        chain("local", ChainMatch { local: Some(true), ..ChainMatch::default() }),
    ];
    let chains = FilterChains::new(chains, None).unwrap();
    let h2 = names(&["h2", "http/1.1"]);
    for (facts, expected) in [
        (facts("203.0.113.1:1", None, &[]), "any"),
        (facts("203.0.113.1:1", Some("a.example"), &[]), "exact"),
        (facts("203.0.113.1:1", Some("c.example"), &[]), "suffix"),
        (facts("203.0.113.1:1", Some("x.y.b.example"), &[]), "deep"),
        (facts("203.0.113.1:1", Some("other.test"), &[]), "tls"),
        // Transport comes before protocols: the chain for h2 says nothing about it and is less specific there.
        (facts("203.0.113.1:1", Some("other.test"), &h2), "tls"),
        (facts("198.51.100.9:1", None, &[]), "net"),
        (facts("198.51.100.7:1", None, &[]), "host"),
        (facts("127.0.0.1:1", None, &[]), "local"),
        (
            ChainFacts { local: "192.0.2.1:8443".parse().unwrap(), ..facts("203.0.113.1:1", None, &[]) },
            "port",
        ),
    ] {
        assert_eq!(&*chains.select(&facts).unwrap().name, expected, "{facts:?}");
    }
}

#[test]
fn without_a_match_the_default_takes_it_or_nobody() {
    let only =
        || vec![chain("a", ChainMatch { server_names: names(&["a.example"]), ..ChainMatch::default() })];
    let chains = FilterChains::new(only(), None).unwrap();
    assert!(chains.select(&facts("203.0.113.1:1", Some("b.example"), &[])).is_none());
    assert!(chains.reads_hello());
    let chains = FilterChains::new(only(), Some(chain("default", ChainMatch::default()))).unwrap();
    assert_eq!(&*chains.select(&facts("203.0.113.1:1", None, &[])).unwrap().name, "default");
}

#[test]
fn chains_that_take_the_same_are_refused() {
    let one = ChainMatch { server_names: names(&["a.example", "b.example"]), ..ChainMatch::default() };
    let two = ChainMatch { server_names: names(&["b.example"]), ..ChainMatch::default() };
    let same = FilterChains::new(vec![chain("one", one.clone()), chain("two", two.clone())], None);
    assert_eq!(same.err(), Some(SameMatch { chain: 1 }));
    let apart = ChainMatch { tls: Some(true), ..two };
    assert!(FilterChains::new(vec![chain("one", one), chain("two", apart)], None).is_ok());
}
