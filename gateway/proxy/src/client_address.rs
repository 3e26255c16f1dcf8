// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The client's address where other proxies stand before this one (Envoy, "x-forwarded-for").

use gateway_config::{AddressSource, Clients, Forwarding};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::net::IpAddr;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The address, as far as proxies before this one are trusted.
    pub(crate) address: IpAddr,
    /// It belongs to the house: it may steer its requests by `x-envoy-*`.
    pub(crate) internal: bool,
}

/// What was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) client: Client,
    /// `x-forwarded-for` gets the peer's address.
    pub(crate) append: bool,
}

/// An address, and whether it may count as an internal one.
struct Told {
    address: Option<IpAddr>,
    alone: bool,
}

impl Told {
    const NOTHING: Self = Self { address: None, alone: false };
}

/// Finds the client of a request whose `x-forwarded-for` is as it came; `peer` is the connection's.
///
/// # Errors
/// The answer where a source of addresses is missing that must be there.
pub(crate) fn learn(
    headers: &HeaderMap,
    peer: IpAddr,
    forwarding: Forwarding,
    clients: &Clients,
) -> Result<Learned, StatusCode> {
    let (mut told, mut append) = (Told::NOTHING, false);
    if forwarding.use_remote_address {
        append = !forwarding.skip_append;
        let hops = forwarding.trusted_hops as usize;
        let before = hops.checked_sub(1).and_then(|skipped| nth_from_right(headers, skipped).address);
        told = Told { address: before.or(Some(peer)), alone: !headers.contains_key(&X_FORWARDED_FOR) };
    }
    for source in &clients.sources {
        let found = match source {
            AddressSource::ForwardedFor { trusted_hops, trusted, append: appends } => {
                append |= appends;
                match &**trusted {
                    [] => nth_from_right(headers, *trusted_hops as usize),
                    trusted => behind_trusted(headers, peer, |address| {
                        trusted.iter().any(|range| range.contains(&address.to_canonical()))
                    }),
                }
            }
            AddressSource::Header { name, trusted, reject } => {
                let address = headers.get(name).and_then(|value| parse(value.to_str().ok()?.trim()));
                if let (None, Some(status)) = (address, reject) {
                    return Err(*status);
                }
                Told { address, alone: *trusted }
            }
        };
        if found.address.is_some() {
            told = found;
            break;
        }
    }
    let internal =
        told.alone && told.address.is_some_and(|address| clients.is_internal(address.to_canonical()));
    Ok(Learned { client: Client { address: told.address.unwrap_or(peer), internal }, append })
}

fn entries(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &str> {
    let values = headers.get_all(&X_FORWARDED_FOR).iter();
    values
        .filter_map(|value| HeaderValue::to_str(value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// The entry with so many others at its right. An entry that is no address ends the trust.
fn nth_from_right(headers: &HeaderMap, skipped: usize) -> Told {
    let mut entries = entries(headers).rev();
    let address = entries.nth(skipped).and_then(parse);
    Told { address, alone: skipped == 0 && entries.next().is_none() }
}

/// The first entry from the right that is no trusted proxy; the leftmost where all are.
fn behind_trusted(headers: &HeaderMap, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> Told {
    if !is_trusted(peer) {
        return Told::NOTHING;
    }
    let mut last = None;
    for entry in entries(headers).rev() {
        let Some(address) = parse(entry) else { return Told::NOTHING };
        last = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    Told { address: last, alone: false }
}

fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

#[cfg(test)]
mod tests;
