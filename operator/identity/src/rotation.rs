// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! When a certificate is renewed: between 70 and 90 % of its life, spread so that a fleet does not ask at once.

use jiff::{SignedDuration, Timestamp};

/// Renewal begins after this share of the life.
const EARLIEST: f64 = 0.7;
/// Renewals are spread over this share of the life.
const SPREAD: f64 = 0.2;

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
}

/// The moment to renew at; `jitter` between 0 (70 % of the life) and 1 (90 %).
#[must_use]
pub fn rotate_at(validity: Validity, jitter: f64) -> Timestamp {
    let life = validity.not_after.duration_since(validity.not_before).as_secs_f64().max(0.0);
    let wait = life * SPREAD.mul_add(jitter.clamp(0.0, 1.0), EARLIEST);
    let wait = SignedDuration::try_from_secs_f64(wait).unwrap_or(SignedDuration::ZERO);
    validity.not_before.checked_add(wait).unwrap_or(validity.not_after)
}

/// [`rotate_at`] with a random jitter.
#[must_use]
pub fn rotate_at_random(validity: Validity) -> Timestamp {
    rotate_at(validity, rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::{Validity, rotate_at, rotate_at_random};
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn renewal_lies_between_70_and_90_percent() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let validity = Validity { not_before: start, not_after: start + SignedDuration::from_secs(1000) };
        assert_eq!(rotate_at(validity, 0.0), start + SignedDuration::from_secs(700));
        assert_eq!(rotate_at(validity, 1.0), start + SignedDuration::from_secs(900));
        assert_eq!(rotate_at(validity, 7.0), start + SignedDuration::from_secs(900));
        for _ in 0..100 {
            let at = rotate_at_random(validity).duration_since(start).as_secs();
            assert!((700..=900).contains(&at));
        }
        let reversed = Validity { not_before: start, not_after: start - SignedDuration::from_secs(5) };
        assert_eq!(rotate_at(reversed, 0.5), start);
    }
}
