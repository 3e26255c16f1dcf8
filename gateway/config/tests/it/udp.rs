// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! UDP listeners: what is taken, and what is refused with the field's name.

use crate::put;
use crate::resources::{chain, listener_message, manager, typed};
use gateway_config::{ConfigStore, DatagramHash, UdpProxy};
use gateway_xds_api::pb::envoy::config::core::v3::{UdpSocketConfig, address, socket_address::Protocol};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    Listener, ListenerFilter, QuicProtocolOptions, UdpListenerConfig, listener_filter,
};
use gateway_xds_api::pb::envoy::extensions::filters::udp::udp_proxy::v3::udp_proxy_config::{
    HashPolicy, RouteSpecifier, SessionFilter, UdpTunnelingConfig, hash_policy::PolicySpecifier,
};
use gateway_xds_api::pb::envoy::extensions::filters::udp::udp_proxy::v3::{Route, UdpProxyConfig};
use gateway_xds_api::pb::google::protobuf::{Duration, UInt64Value};
use gateway_xds_api::pb::xds::core::v3::TypedExtensionConfig as XdsExtension;
use gateway_xds_api::pb::xds::r#type::matcher::v3::{
    Matcher,
    matcher::{MatcherList, MatcherType, OnMatch, on_match},
};
use gateway_xds_api::{ResourceType, pack};
use std::sync::Arc;

const PROXY: &str = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig";

fn filter(kind: &str, value: &[u8]) -> ListenerFilter {
    ListenerFilter {
        name: "udp".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(typed(kind, value))),
        ..ListenerFilter::default()
    }
}

/// The bytes of a message; the type of the resource plays no part.
macro_rules! bytes {
    ($message:expr) => {
        pack(ResourceType::Listener, "", &$message, "").value
    };
}

fn tree(matcher_type: Option<MatcherType>, on_match: on_match::OnMatch) -> Option<RouteSpecifier> {
    let found = OnMatch { keep_matching: false, on_match: Some(on_match) };
    Some(RouteSpecifier::Matcher(Matcher { on_no_match: Some(Box::new(found)), matcher_type }))
}

fn action() -> on_match::OnMatch {
    let route = Route { cluster: "dns".to_owned() };
    let config = typed("envoy.extensions.filters.udp.udp_proxy.v3.Route", &bytes!(route));
    on_match::OnMatch::Action(XdsExtension { name: "route".to_owned(), typed_config: Some(config) })
}

fn proxy() -> UdpProxyConfig {
    UdpProxyConfig {
        stat_prefix: "dns".to_owned(),
        route_specifier: tree(None, action()),
        ..UdpProxyConfig::default()
    }
}

fn udp(listener: &mut Listener) {
    let address = listener.address.as_mut().and_then(|address| address.address.as_mut());
    if let Some(address::Address::SocketAddress(socket)) = address {
        socket.protocol = Protocol::Udp.into();
    }
}

fn listening(proxy: &UdpProxyConfig) -> Listener {
    let mut listener = listener_message("l", Vec::new());
    udp(&mut listener);
    listener.listener_filters = vec![filter(PROXY, &bytes!(proxy.clone()))];
    listener
}

fn taken(listener: &Listener) -> Result<Arc<UdpProxy>, String> {
    let mut store = ConfigStore::new();
    let packed = pack(ResourceType::Listener, "l", listener, "");
    let applied = put(&mut store, ResourceType::Listener, [packed]);
    match applied.rejections.first() {
        Some(rejection) => Err(rejection.message.clone()),
        None => Ok(Arc::clone(store.snapshot().listeners["l"].udp.as_ref().unwrap())),
    }
}

fn size(value: u64) -> Option<UdpSocketConfig> {
    Some(UdpSocketConfig { max_rx_datagram_size: Some(UInt64Value { value }), prefer_gro: None })
}

#[test]
fn defaults_are_envoys() {
    let taken = taken(&listening(&proxy())).unwrap();
    assert_eq!((&*taken.cluster, &*taken.stat_prefix), ("dns", "dns"));
    assert_eq!(taken.idle_timeout, std::time::Duration::from_secs(60));
    assert_eq!((taken.max_received, taken.max_answered), (1500, 65535));
    assert!(taken.hash.is_none() && !taken.per_datagram);
}

#[test]
#[allow(deprecated, reason = "older control planes name the cluster so")]
fn settings_are_read() {
    let mut listener = listening(&UdpProxyConfig {
        route_specifier: Some(RouteSpecifier::Cluster("old".to_owned())),
        idle_timeout: Some(Duration { seconds: 2, nanos: 0 }),
        hash_policies: vec![HashPolicy { policy_specifier: Some(PolicySpecifier::Key("k".to_owned())) }],
        use_per_packet_load_balancing: true,
        upstream_socket_config: size(9000),
        ..proxy()
    });
    listener.udp_listener_config =
        Some(UdpListenerConfig { downstream_socket_config: size(512), ..UdpListenerConfig::default() });
    let taken = taken(&listener).unwrap();
    assert_eq!((&*taken.cluster, taken.idle_timeout.as_secs()), ("old", 2));
    assert_eq!((taken.max_received, taken.max_answered), (512, 9000));
    assert_eq!(taken.hash, Some(DatagramHash::Key("k".into())));
    assert!(taken.per_datagram);
}

#[test]
fn proxies_name_the_field() {
    let policy = |policy| HashPolicy { policy_specifier: policy };
    let with = |change: fn(&mut UdpProxyConfig)| {
        let mut message = proxy();
        change(&mut message);
        message
    };
    for (message, expected) in [
        (with(|p| p.stat_prefix.clear()), "stat_prefix: is empty"),
        (with(|p| p.route_specifier = None), "route_specifier: is missing"),
        (with(|p| p.use_original_src_ip = true), "use_original_src_ip: is not supported"),
        (with(|p| p.session_filters = vec![SessionFilter::default()]), "session_filters: is not supported"),
        (
            with(|p| p.tunneling_config = Some(UdpTunnelingConfig::default())),
            "tunneling_config: is not supported",
        ),
        (with(|p| p.idle_timeout = Some(Duration::default())), "idle_timeout: must be above 0"),
        (with(|p| p.upstream_socket_config = size(0)), "upstream_socket_config.max_rx_datagram_size: must"),
        (
            UdpProxyConfig { hash_policies: vec![policy(Some(PolicySpecifier::SourceIp(false)))], ..proxy() },
            "hash_policies[0]: must be",
        ),
        (
            UdpProxyConfig { hash_policies: vec![policy(None), policy(None)], ..proxy() },
            "hash_policies: may have one",
        ),
        (
            UdpProxyConfig {
                route_specifier: tree(Some(MatcherType::MatcherList(MatcherList::default())), action()),
                ..proxy()
            },
            "matcher: conditions",
        ),
        (
            UdpProxyConfig {
                route_specifier: tree(None, on_match::OnMatch::Matcher(Box::default())),
                ..proxy()
            },
            "matcher.on_no_match.matcher: is not supported",
        ),
    ] {
        let message = taken(&listening(&message)).expect_err(expected);
        assert!(
            message.starts_with("listener_filters[0].") && message.contains(expected),
            "{message:?} should name {expected:?}"
        );
    }
}

#[test]
fn listeners_name_the_field() {
    let chains = || vec![chain(&[], &manager("t"), None)];
    let with = |change: &dyn Fn(&mut Listener)| {
        let mut listener = listening(&proxy());
        change(&mut listener);
        listener
    };
    let quic = || UdpListenerConfig {
        quic_options: Some(QuicProtocolOptions::default()),
        ..UdpListenerConfig::default()
    };
    let inspector = || filter("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", &[]);
    let mut tcp_with_proxy = listener_message("l", chains());
    tcp_with_proxy.listener_filters = vec![filter(PROXY, &bytes!(proxy()))];
    let mut tcp_with_config = listener_message("l", chains());
    tcp_with_config.udp_listener_config = Some(UdpListenerConfig::default());
    for (listener, expected) in [
        (with(&|l| l.filter_chains = chains()), "filter_chains: a UDP listener has none"),
        (with(&|l| l.default_filter_chain = chains().pop()), "default_filter_chain: a UDP listener has none"),
        (with(&|l| l.listener_filters.clear()), "listener_filters: a UDP listener has one"),
        (with(&|l| l.listener_filters.push(inspector())), "listener_filters: a UDP listener has one"),
        (with(&|l| l.listener_filters = vec![inspector()]), "listener_filters[0]: the filter"),
        (with(&|l| l.udp_listener_config = Some(quic())), "udp_listener_config.quic_options: is not"),
        (tcp_with_proxy, "listener_filters[0]: the UDP proxy needs an address whose protocol is UDP"),
        (tcp_with_config, "udp_listener_config: needs an address whose protocol is UDP"),
    ] {
        let message = taken(&listener).expect_err(expected);
        assert!(message.contains(expected), "{message:?} should name {expected:?}");
    }
}
