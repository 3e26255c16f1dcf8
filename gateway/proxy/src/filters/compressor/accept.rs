// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which way to compress a client likes best (RFC 9110, 12.5.3).

use gateway_config::Compressor;

/// A way that the listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    name: &'static str,
    first: bool,
}

impl From<&Compressor> for Offer {
    fn from(compressor: &Compressor) -> Self {
        Self { name: compressor.encoding.name(), first: compressor.choose_first }
    }
}

/// Whether `own` is what the client likes best of `offers`; what it likes equally is settled by `choose_first`, then by the order of the
/// filters. A client that says nothing gets the answer as it is.
pub(crate) fn prefers<'a>(accepted: impl Iterator<Item = &'a [u8]>, offers: &[Offer], own: &str) -> bool {
    let mut wishes: Vec<(String, u32)> = Vec::new();
    for part in accepted.flat_map(|value| value.split(|byte| *byte == b',')) {
        let text = String::from_utf8_lossy(part);
        let mut pieces = text.split(';');
        let name = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
        let quality = pieces.find_map(|piece| piece.trim().strip_prefix("q=").map(thousandths));
        if !name.is_empty() {
            wishes.push((name, quality.unwrap_or(1000)));
        }
    }
    let wish = |name: &str| wishes.iter().find(|(other, _)| other == name).map(|(_, quality)| *quality);
    let of = |offer: &Offer| wish(offer.name).or_else(|| wish("*")).unwrap_or(0);
    let best = offers
        .iter()
        .enumerate()
        .filter(|(_, offer)| of(offer) > 0)
        .max_by_key(|(at, offer)| (of(offer), offer.first, usize::MAX - at));
    best.is_some_and(|(_, offer)| {
        offer.name == own && wish("identity").is_none_or(|plain| plain <= of(offer))
    })
}

/// A weight from 0 to 1 in thousandths; what is none counts as 0.
fn thousandths(text: &str) -> u32 {
    let value: f64 = text.trim().parse().unwrap_or(0.0);
    // From 0 to 1000 after the clamp.
    (value.clamp(0.0, 1.0) * 1000.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::{Offer, prefers};

    #[test]
    fn the_client_chooses_and_the_order_settles() {
        let offers =
            |first: &'static str| ["gzip", "br", "zstd"].map(|name| Offer { name, first: name == first });
        for (accepted, first, expected) in [
            ("gzip", "", Some("gzip")),
            ("br, gzip", "", Some("gzip")),
            ("br, gzip", "br", Some("br")),
            ("gzip;q=0.5, br;q=0.8", "", Some("br")),
            ("gzip;q=0, *", "", Some("br")),
            ("*;q=0.1, zstd;q=0.2", "", Some("zstd")),
            ("identity, gzip;q=0.5", "", None),
            ("deflate", "", None),
            ("gzip;q=0", "", None),
            ("gzip;q=x", "", None),
            ("GZIP ; q=1.0", "", Some("gzip")),
            ("", "", None),
        ] {
            for own in ["gzip", "br", "zstd"] {
                let got = prefers([accepted.as_bytes()].into_iter(), &offers(first), own);
                assert_eq!(got, expected == Some(own), "{accepted:?} {own}");
            }
        }
        assert!(!prefers(std::iter::empty(), &offers(""), "gzip"));
    }
}
