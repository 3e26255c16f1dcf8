// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The PROXY protocol header before a connection's bytes, versions 1 and 2 (HAProxy, "The PROXY protocol").

use crate::client_stream::ClientStream;
use gateway_config::ProxyProtocol;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest text header, line end included.
const V1_LONGEST: usize = 107;
/// What a binary header starts with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of a binary header.
const V2_FIXED: usize = 16;
/// The longest that may follow it: addresses and some extensions.
const V2_LONGEST: usize = 4096;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its length, bytes.
    pub(crate) length: usize,
    /// 1 or 2.
    pub(crate) version: u8,
    /// Client and destination; none: the addresses of the connection count (`UNKNOWN`, `LOCAL`, other families).
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    More,
    /// No header.
    Other,
    /// A header that breaks the rules.
    Invalid,
    /// A header.
    Header(Header),
}

/// Why a connection is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no header, or one that is broken or not allowed.
    Header,
    /// The connection broke.
    Io,
}

/// Reads the header; none where the settings let connections without one in. All bytes behind it are given back.
pub(crate) async fn read(
    stream: &mut ClientStream,
    settings: ProxyProtocol,
) -> Result<Option<Header>, Refused> {
    let mut seen = Vec::new();
    loop {
        let ended = stream.look(&mut seen).await.map_err(|_: io::Error| Refused::Io)? == 0;
        match parse(&seen) {
            Parsed::More if !ended => {}
            Parsed::Header(header) => {
                let refused = if header.version == 1 { settings.refuse_v1 } else { settings.refuse_v2 };
                if refused {
                    return Err(Refused::Header);
                }
                stream.give_back(seen.split_off(header.length));
                return Ok(Some(header));
            }
            Parsed::Other if settings.optional => {
                stream.give_back(seen);
                return Ok(None);
            }
            Parsed::More | Parsed::Other | Parsed::Invalid => return Err(Refused::Header),
        }
    }
}

/// Looks at the first bytes of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    if bytes.starts_with(V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if bytes.starts_with(b"PROXY ") {
        return parse_v1(bytes);
    }
    if V2_SIGNATURE.starts_with(bytes) || b"PROXY ".starts_with(bytes) {
        return Parsed::More;
    }
    Parsed::Other
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let within = &bytes[..bytes.len().min(V1_LONGEST)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_LONGEST { Parsed::More } else { Parsed::Invalid };
    };
    let header = |addresses| Parsed::Header(Header { length: end + 2, version: 1, addresses });
    let Ok(line) = std::str::from_utf8(&within[..end]) else { return Parsed::Invalid };
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => header(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = if family == "TCP4" {
                    ip.parse::<Ipv4Addr>().ok()?.into()
                } else {
                    ip.parse::<Ipv6Addr>().ok()?.into()
                };
                let plain = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                Some(SocketAddr::new(ip, port.parse().ok().filter(|_| plain)?))
            };
            match (address(source, source_port), address(destination, destination_port)) {
                (Some(source), Some(destination)) => header(Some((source, destination))),
                _ => Parsed::Invalid,
            }
        }
        _ => Parsed::Invalid,
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else { return Parsed::More };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || command & 0xf > 1 || length > V2_LONGEST {
        return Parsed::Invalid;
    }
    let Some(body) = rest.get(..length) else { return Parsed::More };
    let header = |addresses| Parsed::Header(Header { length: V2_FIXED + length, version: 2, addresses });
    if command & 0xf == 0 {
        // LOCAL: a health check of the proxy itself.
        return header(None);
    }
    let addresses = match family {
        0x11 => body.first_chunk::<12>().map(|b| {
            let ip = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
            let port = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
            (SocketAddr::from((ip(0), port(8))), SocketAddr::from((ip(4), port(10))))
        }),
        0x21 => body.first_chunk::<36>().map(|b| {
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&b[at..at + 16]);
                Ipv6Addr::from(octets)
            };
            let port = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
            (SocketAddr::from((ip(0), port(32))), SocketAddr::from((ip(16), port(34))))
        }),
        // Other families (UNIX sockets, datagrams, unspecified) tell no address that this proxy could use.
        _ => return header(None),
    };
    match addresses {
        Some(addresses) => header(Some(addresses)),
        None => Parsed::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, Parsed, V2_SIGNATURE, parse};

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn told(parsed: Parsed) -> Option<String> {
        match parsed {
            Parsed::Header(Header { addresses: Some((source, destination)), .. }) => {
                Some(format!("{source}>{destination}"))
            }
            _ => None,
        }
    }

    #[test]
    fn headers_are_read_to_the_byte() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\nGET /";
        assert_eq!(told(parse(line)).unwrap(), "192.0.2.1:5000>198.51.100.2:443");
        assert!(matches!(parse(line), Parsed::Header(Header { length: 44, version: 1, .. })));
        assert_eq!(
            told(parse(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n")).unwrap(),
            "[2001:db8::1]:1>[2001:db8::2]:2"
        );
        let body = [192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb, 3, 0, 1, 9];
        let header = v2(0x21, 0x11, &body);
        assert_eq!(told(parse(&header)).unwrap(), "192.0.2.1:5000>198.51.100.2:443");
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Parsed::More, "{end}");
        }
        for (bytes, length) in [(v2(0x20, 0, &[]), 16), (v2(0x21, 0x31, &[0; 216]), 232)] {
            assert!(
                matches!(parse(&bytes), Parsed::Header(Header { length: l, addresses: None, .. }) if l == length)
            );
        }
        assert!(matches!(parse(b"PROXY UNKNOWN\r\n"), Parsed::Header(Header { addresses: None, .. })));
    }

    #[test]
    fn broken_headers_are_refused() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 120]].concat();
        for bytes in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 70000\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +5 443\r\n",
            b"PROXY TCP4 2001:db8::1 198.51.100.2 5 443\r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.2 5 443\r\n",
            b"PROXY SCTP 192.0.2.1 198.51.100.2 5 443\r\n",
            &long,
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert_eq!(parse(bytes), Parsed::Invalid, "{bytes:?}");
        }
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Parsed::Other);
        assert_eq!(parse(b"\r\n\r\nGET"), Parsed::Other);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[&V2_SIGNATURE[..], &bytes].concat());
            let _ = parse(&[&b"PROXY TCP4 "[..], &bytes].concat());
        }
    }
}
