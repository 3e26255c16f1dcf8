// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whom `x-forwarded-for` names, and who counts as internal.

use super::{Client, learn};
use gateway_config::{AddressSource, Clients, Forwarding};
use http::{HeaderMap, HeaderValue, StatusCode};

const PEER: &str = "9.9.9.9";

fn forwarded_for(trusted_hops: u32) -> AddressSource {
    AddressSource::ForwardedFor { trusted_hops, trusted: Box::default(), append: false }
}

fn found(header: &str, forwarding: Forwarding, sources: Vec<AddressSource>) -> Client {
    let clients = Clients { internal: ["10.0.0.0/8".parse().unwrap()].into(), sources: sources.into() };
    let mut headers = HeaderMap::new();
    if !header.is_empty() {
        headers.insert("x-forwarded-for", HeaderValue::from_str(header).unwrap());
    }
    learn(&headers, PEER.parse().unwrap(), forwarding, &clients).unwrap().client
}

#[test]
fn only_trusted_hops_count() {
    for (header, edge, hops, expected) in [
        ("", true, 0, "9.9.9.9"),
        ("1.1.1.1", true, 0, "9.9.9.9"),
        ("1.1.1.1, 2.2.2.2", true, 1, "2.2.2.2"),
        ("1.1.1.1, 2.2.2.2", true, 2, "1.1.1.1"),
        ("1.1.1.1", true, 5, "9.9.9.9"),
        ("1.1.1.1, 2.2.2.2", false, 0, "2.2.2.2"),
        ("1.1.1.1, 2.2.2.2", false, 1, "1.1.1.1"),
        ("nonsense, 2.2.2.2", false, 1, "9.9.9.9"),
        ("[::1]", false, 0, "::1"),
        ("[::1]:80", false, 0, PEER),
    ] {
        let forwarding = Forwarding { use_remote_address: edge, trusted_hops: hops, ..Forwarding::default() };
        let sources = if edge { Vec::new() } else { vec![forwarded_for(hops)] };
        assert_eq!(
            found(header, forwarding, sources).address.to_string(),
            expected,
            "{header} {edge} {hops}"
        );
    }
}

#[test]
fn a_chain_of_proxies_is_never_internal() {
    for (header, hops, internal) in [
        ("10.1.1.1", 0, true),
        ("8.8.8.8", 0, false),
        ("8.8.8.8, 10.1.1.1", 0, false),
        ("10.1.1.1, 8.8.8.8", 1, false),
        ("", 0, false),
    ] {
        let client = found(header, Forwarding::default(), vec![forwarded_for(hops)]);
        assert_eq!(client.internal, internal, "{header} {hops}");
    }
}

#[test]
fn trusted_ranges_are_walked_from_the_right() {
    let trusted = |range: &str| {
        vec![AddressSource::ForwardedFor {
            trusted_hops: 0,
            trusted: ["9.0.0.0/8".parse().unwrap(), range.parse().unwrap()].into(),
            append: false,
        }]
    };
    for (header, range, expected) in [
        ("1.1.1.1, 2.2.2.2, 3.3.3.3", "3.0.0.0/8", "2.2.2.2"),
        ("3.1.1.1, 3.2.2.2", "3.0.0.0/8", "3.1.1.1"),
        ("1.1.1.1, nonsense, 3.3.3.3", "3.0.0.0/8", PEER),
        ("", "3.0.0.0/8", PEER),
    ] {
        assert_eq!(
            found(header, Forwarding::default(), trusted(range)).address.to_string(),
            expected,
            "{header}"
        );
    }
}

#[test]
fn a_header_of_its_own_may_be_required() {
    let source = AddressSource::Header {
        name: "x-real-ip".parse().unwrap(),
        trusted: true,
        reject: Some(StatusCode::FORBIDDEN),
    };
    let clients = Clients { sources: [source].into(), ..Clients::default() };
    let mut headers = HeaderMap::new();
    let (peer, inside) = (PEER.parse().unwrap(), Forwarding::default());
    assert_eq!(learn(&headers, peer, inside, &clients), Err(StatusCode::FORBIDDEN));
    headers.insert("x-real-ip", HeaderValue::from_static("4.4.4.4"));
    assert_eq!(learn(&headers, peer, inside, &clients).unwrap().client.address.to_string(), "4.4.4.4");
}
