// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Durations as Gateway API writes them (GEP-2257).

/// Milliseconds of a duration such as `1h30m`, `10s` or `0s`; none where it is malformed.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    for part in 0..5 {
        if rest.is_empty() {
            return (part > 0).then_some(total);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if part == 4 || digits == 0 || digits > 5 {
            return None;
        }
        let (number, unit) = rest.split_at(digits);
        let (scale, unit_length) = match unit.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b'h', ..] => (3_600_000, 1),
            [b'm', ..] => (60_000, 1),
            [b's', ..] => (1000, 1),
            _ => return None,
        };
        total += number.parse::<u64>().ok()? * scale;
        rest = unit.get(unit_length..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn durations_follow_gep_2257() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("10ms", Some(10)),
            ("1h30m", Some(5_400_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("1m1m1m1m", Some(240_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1.5s", None),
            ("100000s", None),
            ("1h1m1s1ms1s", None),
            ("-1s", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
