// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The header `via` (RFC 9110, 7.6.3).

use http::header::{Entry, VIA};
use http::{HeaderMap, HeaderValue};

/// Adds this proxy's name behind those that are there.
pub(crate) fn append(headers: &mut HeaderMap, name: &HeaderValue) {
    match headers.entry(VIA) {
        Entry::Vacant(vacant) => {
            vacant.insert(name.clone());
        }
        Entry::Occupied(mut occupied) => {
            let before: Vec<&[u8]> = occupied.iter().map(HeaderValue::as_bytes).collect();
            let joined = [&before.join(&b", "[..]), &b", "[..], name.as_bytes()].concat();
            if let Ok(value) = HeaderValue::from_bytes(&joined) {
                occupied.insert(value);
            }
        }
    }
}
