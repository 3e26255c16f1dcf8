// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Names that fit Kubernetes' limits.

use sha2::{Digest, Sha256};

/// Longest name of a Service and longest label value.
const LIMIT: usize = 63;
/// Hexadecimal digits of the hash in a shortened name.
const HASH: usize = 10;

/// `name`, or where it is longer than 63 characters its beginning and a hash of the whole.
#[must_use]
pub fn shortened(name: &str) -> String {
    if name.len() <= LIMIT {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String =
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(HASH).collect();
    let head: String = name.chars().take(LIMIT - HASH - 1).collect();
    format!("{}-{hash}", head.trim_end_matches(['-', '.']))
}

/// `name` with a suffix, shortened as a whole.
pub(crate) fn with_suffix(name: &str, suffix: &str) -> String {
    shortened(&format!("{name}-{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay() {
        assert_eq!(shortened("edge"), "edge");
        assert_eq!(shortened(&"a".repeat(63)), "a".repeat(63));
    }

    #[test]
    fn long_names_differ_by_their_hash() {
        let (one, two) =
            (shortened(&format!("{}1", "a".repeat(80))), shortened(&format!("{}2", "a".repeat(80))));
        assert!(one.len() <= 63 && two.len() <= 63 && one != two, "{one} {two}");
        assert_eq!(one, shortened(&format!("{}1", "a".repeat(80))));
    }

    #[test]
    fn no_dash_pairs_at_the_cut() {
        let name = format!("{}-------------------------------", "a".repeat(51));
        assert!(!shortened(&name).contains("--"), "{}", shortened(&name));
    }
}
