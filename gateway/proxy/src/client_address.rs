// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The client's address where other proxies stand before this one (Envoy, "x-forwarded-for").

use gateway_config::Forwarding;
use http::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// The address of the client of a request whose `x-forwarded-for` is as this gateway sends it on; `peer` is the connection's.
///
/// With `use_remote_address` the peer was appended, so `trusted_hops` proxies stand before it; without it nothing was, and the last
/// entry is the client's as the proxies before say. An entry that is no address ends the trust: the peer counts.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr, forwarding: Forwarding) -> IpAddr {
    let hops = forwarding.trusted_hops as usize;
    if forwarding.use_remote_address && hops == 0 {
        return peer;
    }
    let entries = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect::<Vec<_>>();
    let appended = usize::from(forwarding.use_remote_address && !forwarding.skip_append);
    let skipped = match forwarding.use_remote_address {
        true => hops - 1 + appended,
        false => hops,
    };
    entries.iter().rev().nth(skipped).and_then(|entry| parse(entry)).unwrap_or(peer)
}

fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::client_address;
    use gateway_config::Forwarding;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn only_trusted_hops_count() {
        let forwarding = |use_remote_address, trusted_hops| Forwarding {
            use_remote_address,
            trusted_hops,
            skip_append: false,
            generate_request_id: false,
            preserve_request_id: false,
        };
        for (header, use_remote, hops, expected) in [
            ("1.1.1.1, 9.9.9.9", true, 0, "9.9.9.9"),
            ("1.1.1.1, 2.2.2.2, 9.9.9.9", true, 1, "2.2.2.2"),
            ("1.1.1.1, 2.2.2.2, 9.9.9.9", true, 2, "1.1.1.1"),
            ("1.1.1.1, 9.9.9.9", true, 5, "9.9.9.9"),
            ("1.1.1.1, 2.2.2.2", false, 0, "2.2.2.2"),
            ("1.1.1.1, 2.2.2.2", false, 1, "1.1.1.1"),
            ("nonsense, 2.2.2.2", false, 1, "9.9.9.9"),
            ("[::1]:80", false, 0, "::1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(header));
            let got = client_address(&headers, "9.9.9.9".parse().unwrap(), forwarding(use_remote, hops));
            assert_eq!(got.to_string(), expected, "{header} {use_remote} {hops}");
        }
    }
}
