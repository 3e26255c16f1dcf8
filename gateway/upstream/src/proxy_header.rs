// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! PROXY protocol headers towards endpoints, versions 1 and 2.

use gateway_config::{ProxyHeader, ProxyHeaderVersion};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL: the connection is the gateway's own.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for a client and its destination. Without a client, as for health checks, version 2 says so; version 1 tells the ends of the
/// connection itself, `own`.
pub(crate) fn encode(
    header: &ProxyHeader,
    client: Option<(SocketAddr, SocketAddr)>,
    own: (SocketAddr, SocketAddr),
) -> Vec<u8> {
    match header.version {
        ProxyHeaderVersion::V1 => version1(client.unwrap_or(own)).into_bytes(),
        ProxyHeaderVersion::V2 => version2(client, header),
    }
}

fn version1(addresses: (SocketAddr, SocketAddr)) -> String {
    let (source, destination) = one_family(addresses);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
}

fn version2(client: Option<(SocketAddr, SocketAddr)>, header: &ProxyHeader) -> Vec<u8> {
    let mut body = Vec::new();
    let (command, family) = match client.map(one_family) {
        None => (LOCAL, 0),
        Some((source, destination)) => {
            for ip in [source.ip(), destination.ip()] {
                match ip {
                    IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
                }
            }
            body.extend_from_slice(&source.port().to_be_bytes());
            body.extend_from_slice(&destination.port().to_be_bytes());
            (PROXY, if source.is_ipv4() { TCP_OVER_IPV4 } else { TCP_OVER_IPV6 })
        }
    };
    for (kind, value) in &header.tlvs {
        // The configuration limits all of them to less than this.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        body.push(*kind);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.get(..length.into()).unwrap_or(value));
    }
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// A header has one family: where they differ, both are told as IPv6.
fn one_family((source, destination): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (canonical(source), canonical(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let wide = |address: SocketAddr| {
        let ip: Ipv6Addr = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        SocketAddr::new(ip.into(), address.port())
    };
    (wide(source), wide(destination))
}

#[cfg(test)]
mod tests {
    use super::encode;
    use bytes::Bytes;
    use gateway_config::{ProxyHeader, ProxyHeaderVersion};
    use std::net::SocketAddr;

    fn addresses(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        let header = ProxyHeader { version: ProxyHeaderVersion::V1, tlvs: Box::default() };
        let own = addresses("10.0.0.1:1", "10.0.0.2:2");
        for (client, expected) in [
            (None, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
            (Some(addresses("192.0.2.1:1234", "192.0.2.2:80")), "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n"),
            (Some(addresses("[2001:db8::1]:5", "[::1]:6")), "PROXY TCP6 2001:db8::1 ::1 5 6\r\n"),
            (
                Some(addresses("[::ffff:192.0.2.1]:5", "192.0.2.2:6")),
                "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n",
            ),
            (Some(addresses("192.0.2.1:5", "[::1]:6")), "PROXY TCP6 ::ffff:192.0.2.1 ::1 5 6\r\n"),
        ] {
            assert_eq!(encode(&header, client, own), expected.as_bytes(), "{client:?}");
        }
    }

    #[test]
    fn version_2_is_binary() {
        let header =
            ProxyHeader { version: ProxyHeaderVersion::V2, tlvs: [(0xe0, Bytes::from_static(b"ab"))].into() };
        let own = addresses("10.0.0.1:1", "10.0.0.2:2");
        let start = b"\r\n\r\n\0\r\nQUIT\n";
        let local = encode(&header, None, own);
        assert_eq!(local, [&start[..], &[0x20, 0, 0, 5, 0xe0, 0, 2, b'a', b'b']].concat());
        let told = encode(&header, Some(addresses("192.0.2.1:258", "192.0.2.2:80")), own);
        let body = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 0, 80, 0xe0, 0, 2, b'a', b'b'];
        assert_eq!(told, [&start[..], &[0x21, 0x11, 0, 17], &body].concat());
        let wide = encode(&header, Some(addresses("[2001:db8::1]:1", "[::1]:2")), own);
        assert_eq!((wide[13], wide.len()), (0x21, 16 + 36 + 5));
    }
}
