// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Times in log lines: RFC 3339 with milliseconds, or a `strftime` format.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// The second that was written last, and its text: lines of the same second share it.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
}

/// Appends a time; false where it lies outside what calendars have or the format is none.
pub(super) fn write_time(out: &mut Vec<u8>, time: SystemTime, format: Option<&str>) -> bool {
    match format {
        None => write_rfc3339(out, time),
        Some(format) => {
            let Ok(time) = jiff::Timestamp::try_from(time) else { return false };
            let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
            jiff::fmt::strtime::format(format, &zoned).is_ok_and(|text| {
                out.extend_from_slice(text.as_bytes());
                true
            })
        }
    }
}

fn write_rfc3339(out: &mut Vec<u8>, time: SystemTime) -> bool {
    let Ok(since) = time.duration_since(UNIX_EPOCH) else { return false };
    let (mut second, mut text) = SECOND.get();
    if second != since.as_secs() {
        let Ok(stamp) = jiff::Timestamp::from_second(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
        else {
            return false;
        };
        let written = format!("{stamp:.0}");
        let Ok(bytes) = <[u8; 20]>::try_from(written.as_bytes()) else { return false };
        (second, text) = (since.as_secs(), bytes);
        SECOND.set((second, text));
    }
    out.extend_from_slice(&text[..19]);
    let millis = since.subsec_millis();
    let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or_default();
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    true
}
