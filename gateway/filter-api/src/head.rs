// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Heads of requests and responses, with the pseudo headers of HTTP/2 as the common view of both protocols.

use crate::FilterError;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

/// A request's head after normalisation: one host, one path, no hop-by-hop headers.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// `:method`.
    pub method: Method,
    /// `:scheme`, as the client reached the gateway: whether over TLS.
    pub https: bool,
    /// `:authority`; there is no `host` beside it in `headers`. Always satisfies [`is_authority`].
    pub authority: HeaderValue,
    /// `:path`.
    pub path: PathAndQuery,
    /// Everything else.
    pub headers: HeaderMap,
    /// The protocol that the client spoke.
    pub version: Version,
}

impl RequestHead {
    /// `:authority` as text.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// `:scheme` as text.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The first value of header `name`, pseudo headers included.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        match name {
            ":method" => Some(self.method.as_str().as_bytes()),
            ":scheme" => Some(self.scheme().as_bytes()),
            ":authority" | "host" => Some(self.authority.as_bytes()),
            ":path" => Some(self.path.as_str().as_bytes()),
            name => self.headers.get(name).map(HeaderValue::as_bytes),
        }
    }

    /// Sets header `name` to one value, pseudo headers included. `:scheme` is not for filters to change.
    ///
    /// # Errors
    /// [`FilterError::InvalidHeader`] where name or value are not fit for the wire.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        let invalid = || FilterError::InvalidHeader { name: name.to_owned() };
        match name {
            ":method" => self.method = Method::from_bytes(value).map_err(|_| invalid())?,
            ":authority" | "host" => {
                if !is_authority(value) {
                    return Err(invalid());
                }
                self.authority = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
            }
            ":path" => {
                let path = PathAndQuery::try_from(value).map_err(|_| invalid())?;
                if !path.as_str().starts_with('/') {
                    return Err(invalid());
                }
                self.path = path;
            }
            _ => {
                let (name, value) = header(name, value)?;
                self.headers.insert(name, value);
            }
        }
        Ok(())
    }

    /// Adds a value to header `name`; a pseudo header is replaced.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        if name.starts_with(':') || name == "host" {
            return self.set(name, value);
        }
        let (name, value) = header(name, value)?;
        self.headers.append(name, value);
        Ok(())
    }

    /// Removes all values of header `name`; pseudo headers stay.
    pub fn remove(&mut self, name: &str) {
        self.headers.remove(name);
    }
}

/// A response's head.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// `:status`.
    pub status: StatusCode,
    /// Everything else.
    pub headers: HeaderMap,
}

impl ResponseHead {
    /// The first value of header `name`, `:status` included.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        match name {
            ":status" => Some(self.status.as_str().as_bytes()),
            name => self.headers.get(name).map(HeaderValue::as_bytes),
        }
    }

    /// Sets header `name` to one value, `:status` included.
    ///
    /// # Errors
    /// [`FilterError::InvalidHeader`] where name or value are not fit for the wire.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        if name == ":status" {
            self.status = StatusCode::from_bytes(value)
                .ok()
                .filter(|status| !status.is_informational())
                .ok_or_else(|| FilterError::InvalidHeader { name: name.to_owned() })?;
            return Ok(());
        }
        let (name, value) = header(name, value)?;
        self.headers.insert(name, value);
        Ok(())
    }

    /// Adds a value to header `name`; `:status` is replaced.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        if name.starts_with(':') {
            return self.set(name, value);
        }
        let (name, value) = header(name, value)?;
        self.headers.append(name, value);
        Ok(())
    }

    /// Removes all values of header `name`; `:status` stays.
    pub fn remove(&mut self, name: &str) {
        self.headers.remove(name);
    }
}

/// A name and value that may be put on the wire by others than the proxy: the message's framing is not theirs.
fn header(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), FilterError> {
    let invalid = || FilterError::InvalidHeader { name: name.to_owned() };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    let framing = matches!(
        name.as_str(),
        "transfer-encoding" | "connection" | "upgrade" | "keep-alive" | "te" | "host"
    );
    if framing {
        return Err(invalid());
    }
    let value = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
    Ok((name, value))
}

/// Whether `text` is `host` or `host:port` and nothing else: no user information, path, space or control byte
/// (RFC 9110, 7.2; RFC 3986, 3.2.2).
#[must_use]
pub fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|&b| b == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => match text.iter().position(|&b| b == b':') {
            Some(colon) => text.split_at(colon),
            None => (text, &[][..]),
        },
    };
    let literal = text.first() == Some(&b'[');
    let host_byte = |b: &u8| {
        if literal {
            b.is_ascii_hexdigit() || matches!(b, b':' | b'.')
        } else {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'*' | b'%')
        }
    };
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && host.len() <= 255 && host.iter().all(host_byte) && port_ok
}

#[cfg(test)]
mod tests {
    use super::{RequestHead, is_authority};
    use http::uri::PathAndQuery;
    use http::{HeaderMap, HeaderValue, Method, Version};

    fn request() -> RequestHead {
        RequestHead {
            method: Method::GET,
            https: true,
            authority: HeaderValue::from_static("a.example:8443"),
            path: PathAndQuery::from_static("/a?b=c"),
            headers: HeaderMap::new(),
            version: Version::HTTP_2,
        }
    }

    #[test]
    fn pseudo_headers_read_and_write_like_others() {
        let mut head = request();
        for (name, value) in [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "a.example:8443"),
            ("host", "a.example:8443"),
            (":path", "/a?b=c"),
        ] {
            assert_eq!(head.get(name), Some(value.as_bytes()), "{name}");
        }
        for (name, value) in [(":method", "POST"), (":authority", "b"), (":path", "/x"), ("x-a", "1")] {
            head.set(name, value.as_bytes()).unwrap();
            assert_eq!(head.get(name), Some(value.as_bytes()), "{name}");
        }
        head.add("x-a", b"2").unwrap();
        assert_eq!(head.headers.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn what_would_break_the_framing_is_refused() {
        let mut head = request();
        for (name, value) in [
            (":path", "a"),
            (":path", "/a b"),
            (":authority", "a/b"),
            (":authority", "u@a"),
            (":scheme", "http"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("x-a", "1\r\nx-b: 2"),
            ("x a", "1"),
        ] {
            assert!(head.set(name, value.as_bytes()).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn authorities() {
        for good in ["a", "a.b:80", "1.2.3.4", "[::1]", "[::1]:443", "a_b.c", "a:"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "u@a", "a:b", "[::1", "[::1]a", "a,b", "a:123456", "a\0", "[]", "a#",
            "a?b",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad:?}");
        }
    }
}
