// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sealing and opening, from outside: round trips, stable hashes, cost of a change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use operator_ir::{
    Action, Backend, BackendId, BackendProtocol, Destination, DirectResponse, Forward, GatewayConfig,
    GatewayId, HostPattern, ObjectKind, ObjectRef, Origin, PathMatch, RequestMatch, RouteTableId, Rule,
    RuleFilters, Timeouts, VirtualHost, VirtualHostId,
};
use operator_revision::{CHUNK_LIMIT, OpenError, Opener, Revision, SealError, Sealer, diff};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Gateways = BTreeMap<GatewayId, GatewayConfig>;

#[derive(Debug, thiserror::Error)]
#[error("no such chunk")]
struct Missing;

fn gateway(n: u8) -> GatewayId {
    GatewayId { namespace: "gateways".into(), name: format!("edge-{n}") }
}

fn origin(name: &str) -> Origin {
    Origin { object: ObjectRef::new(ObjectKind::HTTPRoute, "shop", name), rule: Some(0) }
}

fn host_id(n: u16) -> VirtualHostId {
    VirtualHostId {
        route_table: RouteTableId("http-80".into()),
        host: HostPattern::parse(&format!("h{n}.example.com")),
    }
}

fn backend_id(n: u16) -> BackendId {
    BackendId::Service {
        namespace: "shop".into(),
        name: format!("s{n}"),
        port: 80,
        protocol: BackendProtocol::Http1,
    }
}

fn host(n: u16, rules: u8, salt: &str) -> Arc<VirtualHost> {
    let rule = |r: u8| Rule {
        name: format!("httproute/shop/r{n}/{r}/0"),
        origin: origin(&format!("r{n}")),
        matches: RequestMatch {
            path: PathMatch::Prefix(format!("/{salt}/{r}")),
            method: None,
            headers: vec![],
            query: vec![],
        },
        action: if r == 0 {
            Action::Respond(DirectResponse { status: 200, body: salt.to_owned() })
        } else {
            Action::Forward(Forward {
                destinations: vec![Destination {
                    backend: Some(backend_id(n)),
                    weight: 1,
                    request_headers: Default::default(),
                    response_headers: Default::default(),
                }],
                timeouts: Timeouts::default(),
                retry: None,
                rewrite: None,
                mirrors: vec![],
            })
        },
        filters: RuleFilters::default(),
    };
    Arc::new(VirtualHost { id: host_id(n), rules: (0..rules).map(rule).collect() })
}

fn backend(n: u16, timeout: u64) -> Arc<Backend> {
    Arc::new(Backend { id: backend_id(n), connect_timeout_ms: timeout, origin: origin("b") })
}

#[derive(Clone, Debug)]
enum Edit {
    Host { gateway: u8, n: u16, rules: u8, salt: String },
    Backend { gateway: u8, n: u16, timeout: u64 },
    RemoveHost { gateway: u8, n: u16 },
    RemoveGateway(u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    use proptest::prop_oneof;
    prop_oneof![
        6 => (0..3_u8, 0..200_u16, 0..4_u8, "[a-z\\n\"\\\\é]{0,8}")
            .prop_map(|(gateway, n, rules, salt)| Edit::Host { gateway, n, rules, salt }),
        3 => (0..3_u8, 0..200_u16, any::<u64>()).prop_map(|(gateway, n, timeout)| Edit::Backend { gateway, n, timeout }),
        2 => (0..3_u8, 0..200_u16).prop_map(|(gateway, n)| Edit::RemoveHost { gateway, n }),
        1 => (0..3_u8).prop_map(Edit::RemoveGateway),
    ]
}

fn apply(gateways: &mut Gateways, edit: &Edit) {
    match edit {
        Edit::Host { gateway: g, n, rules, salt } => {
            let config = gateways.entry(gateway(*g)).or_default();
            config.virtual_hosts.insert(host_id(*n), host(*n, *rules, salt));
        }
        Edit::Backend { gateway: g, n, timeout } => {
            gateways.entry(gateway(*g)).or_default().backends.insert(backend_id(*n), backend(*n, *timeout));
        }
        Edit::RemoveHost { gateway: g, n } => {
            gateways.entry(gateway(*g)).or_default().virtual_hosts.remove(&host_id(*n));
        }
        Edit::RemoveGateway(g) => drop(gateways.remove(&gateway(*g))),
    }
}

fn store(revision: &Revision, chunks: &mut BTreeMap<String, Vec<u8>>) -> usize {
    let all = revision.chunks.iter().chain([&revision.manifest]);
    all.filter(|chunk| chunks.insert(chunk.name.clone(), chunk.data.to_vec()).is_none()).count()
}

/// The same content, every part in an allocation of its own.
fn copy(gateways: &Gateways) -> Gateways {
    let text = serde_json::to_string(&gateways.values().collect::<Vec<_>>()).unwrap();
    let configs: Vec<GatewayConfig> = serde_json::from_str(&text).unwrap();
    gateways.keys().cloned().zip(configs).collect()
}

proptest! {
    #[test]
    fn opening_gives_what_was_sealed(batches in prop::collection::vec(prop::collection::vec(edit(), 1..40), 1..8)) {
        let (mut gateways, mut sealer, mut opener) = (Gateways::new(), Sealer::new(), Opener::new());
        let mut chunks = BTreeMap::new();
        for batch in batches {
            batch.iter().for_each(|edit| apply(&mut gateways, edit));
            let revision = sealer.seal(&gateways, "template").unwrap();
            store(&revision, &mut chunks);
            for chunk in &revision.chunks {
                prop_assert!(chunk.data.len() < CHUNK_LIMIT);
            }
            // History and order of construction leave no trace.
            let fresh = Sealer::new().seal(&copy(&gateways), "template").unwrap();
            prop_assert_eq!(&fresh.hash, &revision.hash);
            let opened = opener.open(&revision.hash, |name| chunks.get(name).ok_or(Missing)).unwrap();
            prop_assert_eq!(opened, &gateways);
            prop_assert_eq!(opener.template(), "template");
        }
    }

    #[test]
    fn the_hash_follows_the_content(first in edit(), second in edit()) {
        let mut gateways = Gateways::new();
        apply(&mut gateways, &Edit::Host { gateway: 0, n: 1, rules: 1, salt: "x".into() });
        apply(&mut gateways, &first);
        let before = gateways.clone();
        apply(&mut gateways, &second);
        let hash = |g: &Gateways| Sealer::new().seal(g, "t").unwrap().hash;
        prop_assert_eq!(hash(&before) == hash(&gateways), before == gateways);
        prop_assert!(hash(&before) != Sealer::new().seal(&before, "u").unwrap().hash);
    }
}

fn large(hosts: u16) -> Gateways {
    let mut config = GatewayConfig::default();
    for n in 0..hosts {
        config.virtual_hosts.insert(host_id(n), host(n, 2, "path"));
        config.backends.insert(backend_id(n), backend(n, 5000));
    }
    [(gateway(0), config)].into()
}

#[test]
fn one_change_among_ten_thousand_writes_two_small_chunks() {
    let mut gateways = large(10_000);
    let (mut sealer, mut opener, mut chunks) = (Sealer::new(), Opener::new(), BTreeMap::new());
    let first = sealer.seal(&gateways, "t").unwrap();
    store(&first, &mut chunks);
    opener.open(&first.hash, |name| chunks.get(name).ok_or(Missing)).unwrap();
    let before = opener.gateways().clone();
    let id = gateway(0);

    gateways.get_mut(&id).unwrap().virtual_hosts.insert(host_id(5000), host(5000, 3, "path"));
    let started = std::time::Instant::now();
    let second = sealer.seal(&gateways, "t").unwrap();
    let sealed = started.elapsed();
    assert_eq!(store(&second, &mut chunks), 2, "a chunk and the manifest");
    let sizes: Vec<usize> = second.chunks.iter().map(|c| c.data.len()).collect();
    let old: BTreeSet<&String> = first.chunks.iter().map(|c| &c.name).collect();
    let written: Vec<usize> =
        second.chunks.iter().filter(|c| !old.contains(&c.name)).map(|c| c.data.len()).collect();
    println!(
        "10,000 hosts: {} chunks of {} to {} bytes; one change: {written:?} + manifest {} bytes, sealed in {sealed:?}",
        sizes.len(),
        sizes.iter().min().unwrap(),
        sizes.iter().max().unwrap(),
        second.manifest.data.len(),
    );
    assert!(second.manifest.data.len() + written[0] < 64 << 10);

    let fetched = RefCell::new(Vec::new());
    opener
        .open(&second.hash, |name| {
            fetched.borrow_mut().push(name.to_owned());
            chunks.get(name).ok_or(Missing)
        })
        .unwrap();
    assert_eq!(fetched.borrow().len(), 2, "what is open is not fetched again");
    assert_eq!(opener.gateways(), &gateways);
    let (was, is) = (&before[&id], &opener.gateways()[&id]);
    let kept =
        was.virtual_hosts.values().zip(is.virtual_hosts.values()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(kept, 9_999, "parts of the changed chunk keep their allocation too");
    assert_eq!(
        diff(&before, opener.gateways()),
        ["~ gateways/edge-0: virtual host http-80/h5000.example.com (rules +1; HTTPRoute shop/r5000)"]
    );
}

#[test]
fn damage_is_refused_and_the_open_revision_stays() {
    let mut gateways = large(100);
    let (mut sealer, mut opener, mut chunks) = (Sealer::new(), Opener::new(), BTreeMap::new());
    let first = sealer.seal(&gateways, "t").unwrap();
    store(&first, &mut chunks);
    opener.open(&first.hash, |name| chunks.get(name).ok_or(Missing)).unwrap();
    let good = opener.gateways().clone();

    gateways.get_mut(&gateway(0)).unwrap().backends.insert(backend_id(7), backend(7, 1));
    let second = sealer.seal(&gateways, "t").unwrap();
    let changed = second.chunks.iter().find(|c| !chunks.contains_key(&c.name)).unwrap().clone();
    let missing = opener.open(&second.hash, |name| {
        if name == second.hash { Ok(second.manifest.data.clone()) } else { Err(Missing) }
    });
    assert!(matches!(missing, Err(OpenError::Fetch { name, .. }) if name == changed.name));
    store(&second, &mut chunks);
    for damage in [
        vec![],
        vec![0; 100],
        changed.data[..changed.data.len() - 1].to_vec(),
        first.chunks[0].data.to_vec(),
        vec![0; CHUNK_LIMIT + 1],
    ] {
        chunks.insert(changed.name.clone(), damage);
        let opened = opener.open(&second.hash, |name| chunks.get(name).ok_or(Missing));
        assert!(matches!(opened, Err(OpenError::Damaged(name)) if name == changed.name));
        assert_eq!(opener.gateways(), &good);
        assert_eq!(opener.revision(), first.hash);
    }
    chunks.insert(changed.name.clone(), changed.data.to_vec());
    assert_eq!(opener.open(&second.hash, |name| chunks.get(name).ok_or(Missing)).unwrap(), &gateways);
}

#[test]
fn large_parts_spread_and_too_large_ones_are_named() {
    let mut gateways = large(3);
    let (mut sealer, mut opener, mut chunks) = (Sealer::new(), Opener::new(), BTreeMap::new());
    let small = sealer.seal(&gateways, "t").unwrap();
    for n in 0..8 {
        let body = "x".repeat(400_000);
        let host = host(n, 1, &body);
        gateways.get_mut(&gateway(0)).unwrap().virtual_hosts.insert(host_id(n), host);
    }
    let wide = sealer.seal(&gateways, "t").unwrap();
    store(&wide, &mut chunks);
    assert_eq!(opener.open(&wide.hash, |name| chunks.get(name).ok_or(Missing)).unwrap(), &gateways);
    let body = "x".repeat(900_000);
    gateways.get_mut(&gateway(0)).unwrap().virtual_hosts.insert(host_id(0), host(0, 1, &body));
    let refused = sealer.seal(&gateways, "t");
    assert!(
        matches!(&refused, Err(SealError::PartTooLarge { part, .. }) if part == "virtual host http-80/h0.example.com")
    );
    let again = sealer.seal(&large(3), "t").unwrap();
    assert_eq!(again.hash, small.hash, "the sealer is of use after a refusal, and shrinks again");
}
