// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Repeated lines of a header as one value: whoever decides by a header must not be led by its first line while others read the rest.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// The values of all lines, separated by commas (RFC 9110, 5.2); none where there is no line.
pub(in crate::filters) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = lines.next()?;
    let mut all = Cow::Borrowed(first);
    for line in lines {
        let all = all.to_mut();
        all.push(b',');
        all.extend_from_slice(line);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::joined;
    use http::header::ORIGIN;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn lines_become_one_value_in_order() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined(&headers, &ORIGIN), None);
        for (line, all) in [("a", "a"), ("b", "a,b"), ("", "a,b,")] {
            headers.append(ORIGIN, HeaderValue::from_static(line));
            assert_eq!(joined(&headers, &ORIGIN).as_deref(), Some(all.as_bytes()));
        }
    }
}
