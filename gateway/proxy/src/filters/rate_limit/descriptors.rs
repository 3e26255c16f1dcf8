// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the service is told about a request.

use crate::routing::view;
use gateway_config::{RateLimitAction, RateLimitRule};
use gateway_filter_api::FilterContext;
use gateway_xds_api::pb::envoy::extensions::common::ratelimit::v3::{
    RateLimitDescriptor,
    rate_limit_descriptor::{Entry, RateLimitOverride},
};
use gateway_xds_api::pb::google::protobuf::UInt64Value;
use serde_json::Value;
use std::net::IpAddr;

/// What entries read beside the request itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::filters) struct Surroundings<'a> {
    pub(in crate::filters) cluster: &'a str,
    pub(in crate::filters) client: IpAddr,
}

/// The descriptor of a rule; none where one of its actions does not fit.
pub(in crate::filters) fn descriptor(
    rule: &RateLimitRule,
    context: &FilterContext<'_>,
    surroundings: Surroundings<'_>,
) -> Option<RateLimitDescriptor> {
    let mut entries = Vec::with_capacity(rule.actions.len());
    for action in &rule.actions {
        match entry(action, context, surroundings) {
            Found::Entry(key, value) => entries.push(Entry { key: key.to_owned(), value }),
            Found::Skipped => {}
            Found::Nothing => return None,
        }
    }
    (!entries.is_empty()).then(|| RateLimitDescriptor {
        entries,
        limit: rule.limit.map(|(requests_per_unit, unit)| RateLimitOverride { requests_per_unit, unit }),
        hits_addend: rule.hits.map(|value| UInt64Value { value }),
        ..RateLimitDescriptor::default()
    })
}

enum Found<'a> {
    Entry(&'a str, String),
    /// The descriptor goes without it.
    Skipped,
    /// There is no descriptor.
    Nothing,
}

fn entry<'a>(
    action: &'a RateLimitAction,
    context: &FilterContext<'_>,
    surroundings: Surroundings<'_>,
) -> Found<'a> {
    let head = &*context.request;
    let absent = |skip: bool| if skip { Found::Skipped } else { Found::Nothing };
    let address = || surroundings.client.to_canonical();
    match action {
        RateLimitAction::DestinationCluster => {
            Found::Entry("destination_cluster", surroundings.cluster.to_owned())
        }
        RateLimitAction::RequestHeader { header, key, skip_if_absent } => match head.get(header.as_str()) {
            Some(value) => Found::Entry(key, String::from_utf8_lossy(value).into_owned()),
            None => absent(*skip_if_absent),
        },
        RateLimitAction::QueryParameter { name, key, skip_if_absent } => {
            let mut pairs = head.path.query().into_iter().flat_map(|query| query.split('&'));
            let value = pairs.find_map(|pair| {
                let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
                (own == &**name).then(|| value.to_owned())
            });
            value.map_or_else(|| absent(*skip_if_absent), |value| Found::Entry(key, value))
        }
        RateLimitAction::RemoteAddress => Found::Entry("remote_address", address().to_string()),
        RateLimitAction::MaskedRemoteAddress(v4, v6) => {
            Found::Entry("masked_remote_address", masked(address(), *v4, *v6))
        }
        RateLimitAction::GenericKey { key, value } => Found::Entry(key, value.to_string()),
        RateLimitAction::HeaderMatch { key, value, expect, headers } => {
            let view = view(head, 0);
            match headers.iter().all(|header| header.is_match(&view)) == *expect {
                true => Found::Entry(key, value.to_string()),
                false => Found::Nothing,
            }
        }
        RateLimitAction::QueryMatch { key, value, expect, parameters } => {
            let query = head.path.query();
            match parameters.iter().all(|parameter| parameter.is_match(query.unwrap_or_default())) == *expect
            {
                true => Found::Entry(key, value.to_string()),
                false => Found::Nothing,
            }
        }
        RateLimitAction::Metadata { key, namespace, path, default, skip_if_absent } => {
            let found = context.metadata.value(namespace, path.iter().map(|key| &**key));
            match found.and_then(Value::as_str).filter(|text| !text.is_empty()) {
                Some(text) => Found::Entry(key, text.to_owned()),
                None if !default.is_empty() => Found::Entry(key, default.to_string()),
                None => absent(*skip_if_absent),
            }
        }
    }
}

/// `address/bits` with the other bits zero.
fn masked(address: IpAddr, v4: u8, v6: u8) -> String {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4)).unwrap_or(0);
            format!("{}/{v4}", std::net::Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6)).unwrap_or(0);
            format!("{}/{v6}", std::net::Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn addresses_are_masked() {
        for (address, v4, v6, expected) in [
            ("10.1.2.3", 24, 64, "10.1.2.0/24"),
            ("10.1.2.3", 0, 64, "0.0.0.0/0"),
            ("10.1.2.3", 32, 64, "10.1.2.3/32"),
            ("2001:db8::1:2", 24, 32, "2001:db8::/32"),
            ("2001:db8::1:2", 24, 0, "::/0"),
        ] {
            assert_eq!(masked(address.parse().unwrap(), v4, v6), expected);
        }
    }
}
