// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Small pieces of protobuf that every resource uses.

use crate::names;
use gateway_xds_api::pb::envoy::config::core::v3 as core;
use gateway_xds_api::pb::envoy::r#type::matcher::v3 as matcher;
use gateway_xds_api::pb::google::protobuf::{Any, BoolValue, Duration, Struct, UInt32Value, Value, value};
use operator_ir::Origin;
use prost::{Message, Name};
use std::collections::HashMap;

/// Packs a message with its type URL.
pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

pub(crate) fn millis(ms: u64) -> Duration {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    // Below 10^9 by the remainder.
    Duration { seconds, nanos: i32::try_from((ms % 1000) * 1_000_000).unwrap_or_default() }
}

pub(crate) fn boolean(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// Resources come over the stream that named them.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

pub(crate) fn socket_address(address: std::net::IpAddr, port: u16) -> core::Address {
    let socket = core::SocketAddress {
        address: address.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// Says which user's object a part was made from. One field alone, as the fields of a struct have no order.
pub(crate) fn origin_metadata(origin: &Origin) -> core::Metadata {
    let text = Value { kind: Some(value::Kind::StringValue(origin.to_string())) };
    let fields = Struct { fields: HashMap::from([("origin".to_owned(), text)]) };
    core::Metadata {
        filter_metadata: HashMap::from([(names::METADATA.to_owned(), fields)]),
        ..Default::default()
    }
}

pub(crate) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}
