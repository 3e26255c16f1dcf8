// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Durations as users write them: `30m`, `1h30m`, `500ms`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// What the API server checks; [`Span::parse`] accepts exactly this.
const PATTERN: &str = "^([0-9]{1,6}(ms|s|m|h)){1,4}$";

/// A length of time as text: numbers with the units `ms`, `s`, `m`, `h`, added up.
///
/// Kept as text so that an object reads back as it was written; the API server enforces the pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a duration; write numbers with the units ms, s, m or h, such as 1h30m")]
pub struct InvalidSpan(pub String);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub fn seconds(seconds: u32) -> Self {
        Self(format!("{seconds}s"))
    }

    /// The length of time; an error for text that the API server would have refused.
    pub fn parse(&self) -> Result<Duration, InvalidSpan> {
        let invalid = || InvalidSpan(self.0.clone());
        let mut rest = self.0.as_str();
        let mut total = Duration::ZERO;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            if digits > 6 {
                return Err(invalid());
            }
            let number: u64 = number.parse().map_err(|_| invalid())?;
            let (millis, unit) = unit_millis(tail).ok_or_else(invalid)?;
            total += Duration::from_millis(number * millis);
            rest = &tail[unit..];
            parts += 1;
        }
        if (1..=4).contains(&parts) { Ok(total) } else { Err(invalid()) }
    }

    /// The length of time, or `fallback` for text that the API server would have refused.
    #[must_use]
    pub fn or(&self, fallback: Duration) -> Duration {
        self.parse().unwrap_or(fallback)
    }
}

/// Milliseconds of the unit that `text` starts with, and the unit's length in bytes.
fn unit_millis(text: &str) -> Option<(u64, usize)> {
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find(|(unit, _)| text.starts_with(unit))
        .map(|(unit, millis)| (millis, unit.len()))
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": 32})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_pattern_allows() {
        for (text, seconds) in
            [("30m", 1_800.0), ("1h30m", 5_400.0), ("500ms", 0.5), ("0s", 0.0), ("1m500ms", 60.5)]
        {
            assert_eq!(Span::from(text).parse().unwrap().as_secs_f64(), seconds, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "10", "-1s", "1.5h", "1d", "s", "1 s", "1s1s1s1s1s", "1234567s"] {
            assert!(Span::from(text).parse().is_err(), "{text}");
        }
    }
}
