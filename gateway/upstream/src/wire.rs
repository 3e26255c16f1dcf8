// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The form of a request on HTTP/1.1 and HTTP/2: both are made from either, so that a request may move between connections.

use crate::switch;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, UPGRADE};
use http::uri::{Authority, InvalidUri, InvalidUriParts, Parts, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use http_body::Body;
use hyper::ext::Protocol;

/// A request that has no valid form.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// No authority in the target, no host header.
    #[error("the request has no authority")]
    NoAuthority,
    /// The host header is no authority.
    #[error("the host header is not an authority")]
    BadAuthority(#[source] InvalidUri),
    /// The parts do not make a target.
    #[error("the request target is malformed")]
    Target(#[source] InvalidUriParts),
    /// The scheme is malformed.
    #[error("the scheme is malformed")]
    Scheme(#[source] InvalidUri),
}

/// Brings the target, host header, framing and version into the form that the connection's protocol wants.
pub(crate) fn prepare<B: Body>(request: &mut Request<B>, http2: bool, scheme: &str) -> Result<(), FormError> {
    switch::prepare(request, http2);
    if http2 {
        return prepare_http2(request, scheme);
    }
    if request.body().is_end_stream()
        && has_usual_body(request.method())
        && !request.headers().contains_key(UPGRADE)
    {
        // Some servers answer 411 where a method that usually has a body says nothing of one (RFC 9110, 8.6).
        request.headers_mut().entry(CONTENT_LENGTH).or_insert(const { HeaderValue::from_static("0") });
    }
    prepare_http1(request)
}

fn has_usual_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT | Method::TRACE)
}

/// Origin form with a host header (RFC 9112, 3.2); CONNECT keeps its authority form.
fn prepare_http1<B>(request: &mut Request<B>) -> Result<(), FormError> {
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(HOST) {
        let authority = request.uri().authority().ok_or(FormError::NoAuthority)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| FormError::NoAuthority)?;
        request.headers_mut().insert(HOST, host);
    }
    if *request.method() != Method::CONNECT
        && (request.uri().authority().is_some() || request.uri().scheme().is_some())
    {
        let mut parts = Parts::default();
        parts.path_and_query = Some(path_of(request.uri()));
        *request.uri_mut() = Uri::from_parts(parts).map_err(FormError::Target)?;
    }
    Ok(())
}

/// Absolute form without a host header (RFC 9113, 8.3.1).
fn prepare_http2<B>(request: &mut Request<B>, scheme: &str) -> Result<(), FormError> {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let plain_connect =
        *request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_none();
    if request.uri().authority().is_some() && (request.uri().scheme().is_some() || plain_connect) {
        return Ok(());
    }
    let authority = match (request.uri().authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(FormError::BadAuthority)?,
        (None, None) => return Err(FormError::NoAuthority),
    };
    let mut parts = Parts::default();
    parts.path_and_query = Some(path_of(request.uri()));
    parts.scheme = Some(Scheme::try_from(scheme).map_err(FormError::Scheme)?);
    parts.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(parts).map_err(FormError::Target)?;
    Ok(())
}

fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::{Protocol, prepare};
    use crate::Switch;
    use bytes::Bytes;
    use http::{HeaderValue, Method, Request, Uri, Version, header::HOST};
    use http_body_util::{Empty, Full};

    #[test]
    fn requests_move_between_protocols() {
        let mut request =
            Request::get("/a?b=c").header(HOST, "shop.example:8080").body(Empty::<Bytes>::new()).unwrap();
        prepare(&mut request, true, "https").unwrap();
        assert_eq!(request.uri(), "https://shop.example:8080/a?b=c");
        assert_eq!((request.version(), request.headers().get(HOST)), (Version::HTTP_2, None));
        prepare(&mut request, false, "https").unwrap();
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(
            (request.version(), request.headers()[HOST].to_str().unwrap()),
            (Version::HTTP_11, "shop.example:8080")
        );
    }

    #[test]
    fn a_request_for_an_upgrade_takes_the_form_of_its_connection() {
        let mut request =
            Request::get("/chat").header(HOST, "shop.example").body(Empty::<Bytes>::new()).unwrap();
        let protocol = HeaderValue::from_static("websocket");
        request.extensions_mut().insert(Switch::Upgrade { protocol, method: Method::GET });
        prepare(&mut request, true, "http").unwrap();
        assert_eq!(
            (request.method(), request.uri().to_string()),
            (&Method::CONNECT, "http://shop.example/chat".into())
        );
        assert_eq!(request.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"));
        assert!(request.headers().is_empty());
        prepare(&mut request, false, "http").unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::GET, "/chat".into()));
        assert_eq!(
            (&request.headers()["connection"], &request.headers()["upgrade"]),
            (&HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"))
        );
        assert!(request.extensions().get::<Protocol>().is_none());
    }

    #[test]
    fn connect_has_a_host_alone() {
        let uri = Uri::builder().authority("db.example:5432").build().unwrap();
        let mut request =
            Request::builder().method(Method::CONNECT).uri(uri).body(Empty::<Bytes>::new()).unwrap();
        for http2 in [false, true, false] {
            prepare(&mut request, http2, "https").unwrap();
            assert_eq!(request.uri(), "db.example:5432");
        }
        assert_eq!(request.headers()[HOST], "db.example:5432");
    }

    #[test]
    fn a_method_that_usually_has_a_body_says_where_there_is_none() {
        for (method, body, expected) in [
            (Method::POST, "", Some("0")),
            (Method::OPTIONS, "", Some("0")),
            (Method::POST, "text", None),
            (Method::GET, "", None),
            (Method::DELETE, "", None),
        ] {
            let body = Full::new(Bytes::from(body));
            let mut request =
                Request::builder().method(method).uri("/").header(HOST, "a.example").body(body).unwrap();
            prepare(&mut request, false, "http").unwrap();
            let said = request.headers().get("content-length").map(|value| value.to_str().unwrap());
            assert_eq!(said, expected, "{}", request.method());
        }
    }

    #[test]
    fn a_request_without_authority_is_refused() {
        for http2 in [false, true] {
            let mut request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
            assert!(prepare(&mut request, http2, "http").is_err());
        }
        let mut request = Request::get("/").header(HOST, "a b").body(Empty::<Bytes>::new()).unwrap();
        assert!(prepare(&mut request, true, "http").is_err());
    }
}
