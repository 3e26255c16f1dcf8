// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The hash functions that Envoy uses for consistent hashing, so that both choose alike.

use twox_hash::XxHash64;

/// xxHash, 64 bit, seed 0.
#[must_use]
pub fn hash_key(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// xxHash of several texts, each with the hash before as its seed.
#[must_use]
pub fn hash_all<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    texts.into_iter().fold(0, |hash, text| seeded(text, hash))
}

/// The hash of a request so far and one more part of it.
#[must_use]
pub fn combine_hashes(before: Option<u64>, next: u64) -> u64 {
    before.map_or(next, |before| before.rotate_left(1) ^ next)
}

pub(crate) fn seeded(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

/// MurmurHash2, 64 bit (`std::hash` of libstdc++, whose seed is used).
pub(crate) fn murmur2(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xc70f_6907;
    let mix = |value: u64| value ^ (value >> 47);
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = mix(u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u64::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    mix(mix(hash).wrapping_mul(MULTIPLIER))
}

#[cfg(test)]
mod tests {
    use super::{combine_hashes, hash_key, murmur2};

    /// From Envoy's own tests of the two functions.
    #[test]
    fn hashes_are_envoys() {
        for (text, expected) in [
            ("foo", 3_728_699_739_546_630_719_u64),
            ("bar", 5_234_164_152_756_840_025),
            ("foo\nbar", 8_917_841_378_505_826_757),
            ("lyft", 4_400_747_396_090_729_504),
            ("", 17_241_709_254_077_376_921),
        ] {
            assert_eq!(hash_key(text.as_bytes()), expected, "{text:?}");
        }
        for (text, expected) in [("", 6_142_509_188_972_423_790_u64), ("foo", 9_631_199_822_919_835_226)] {
            assert_eq!(murmur2(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(combine_hashes(Some(1 << 63), 0), 1);
        assert_eq!(combine_hashes(None, 7), 7);
    }
}
