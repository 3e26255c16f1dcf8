// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Short forms of protobuf's wrapper types.

use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress, address, config_source,
    socket_address,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::RegexMatcher;
use gateway_xds_api::pb::google::protobuf::{BoolValue, Duration, UInt32Value};

#[expect(clippy::unnecessary_wraps, reason = "fields of this type are optional")]
pub(crate) fn yes(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of this type are optional")]
pub(crate) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A duration of milliseconds.
pub(crate) fn millis(value: u64) -> Duration {
    let seconds = i64::try_from(value / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(value % 1000).unwrap_or_default() * 1_000_000;
    Duration { seconds, nanos }
}

#[expect(clippy::unnecessary_wraps, reason = "fields of this type are optional")]
pub(crate) fn seconds(value: u32) -> Option<Duration> {
    Some(Duration { seconds: value.into(), nanos: 0 })
}

/// A regular expression in RE2 syntax that must match as a whole.
pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..RegexMatcher::default() }
}

/// `text` as a regular expression that matches it alone.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

/// Resources that come over the stream they were named on.
#[expect(clippy::unnecessary_wraps, reason = "fields of this type are optional")]
pub(crate) fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    })
}

#[expect(clippy::unnecessary_wraps, reason = "fields of this type are optional")]
pub(crate) fn socket_address(address: impl Into<String>, port: u16) -> Option<Address> {
    let socket = SocketAddress {
        address: address.into(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}
