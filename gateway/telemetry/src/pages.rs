// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Pages of an operations port: a table of paths and the functions that answer them.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

type Answer = Box<dyn Fn(&PageRequest<'_>) -> Page + Send + Sync>;

/// What a page function sees of a request; bodies are never read.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// The path, without the query.
    pub path: &'a str,
    query: &'a str,
}

impl<'a> PageRequest<'a> {
    /// The value of a query parameter, as written (no percent decoding). A name without `=` gives the empty text.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// The value of a query parameter, percent-decoded. Bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn decoded(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameter(name).map(|value| percent_decode_str(value).decode_utf8_lossy())
    }

    /// All query parameters, percent-decoded, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        let decoded = |text: &'a str| percent_decode_str(text).decode_utf8_lossy();
        self.query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its status.
    pub status: StatusCode,
    /// Its content type.
    pub content_type: &'static str,
    /// Its body.
    pub body: Bytes,
}

impl Page {
    /// A page of text.
    #[must_use]
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into().into() }
    }

    /// A page of another type, answered with 200.
    #[must_use]
    pub fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type, body: body.into() }
    }

    /// A value as indented JSON; answered with 500 and the reason where it cannot be written.
    #[must_use]
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec_pretty(value) {
            Ok(body) => Self { status: StatusCode::OK, content_type: "application/json", body: body.into() },
            Err(error) => {
                Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}\n"))
            }
        }
    }
}

/// The table of pages.
#[derive(Default)]
pub struct Pages {
    routes: BTreeMap<&'static str, BTreeMap<&'static str, Answer>>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Pages {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a page that is read.
    #[must_use]
    pub fn get(
        self,
        path: &'static str,
        answer: impl Fn(&PageRequest<'_>) -> Page + Send + Sync + 'static,
    ) -> Self {
        self.with("GET", path, Box::new(answer))
    }

    /// Adds a page that changes something.
    #[must_use]
    pub fn post(
        self,
        path: &'static str,
        answer: impl Fn(&PageRequest<'_>) -> Page + Send + Sync + 'static,
    ) -> Self {
        self.with("POST", path, Box::new(answer))
    }

    fn with(mut self, method: &'static str, path: &'static str, answer: Answer) -> Self {
        self.routes.entry(path).or_default().insert(method, answer);
        self
    }

    /// Answers one request. `/` and `/help` list the pages unless a page of that path exists.
    #[must_use]
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let page =
            self.page(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let mut response = Response::new(Full::new(page.body));
        *response.status_mut() = page.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn page(&self, method: &Method, path: &str, query: &str) -> Page {
        let Some(methods) = self.routes.get(path) else {
            return if path == "/" || path == "/help" {
                self.index()
            } else {
                Page::text(StatusCode::NOT_FOUND, "no such page\n")
            };
        };
        // hyper leaves a HEAD answer's body out by itself.
        let wanted = if method == Method::HEAD { "GET" } else { method.as_str() };
        match methods.get(wanted) {
            Some(answer) => answer(&PageRequest { path, query }),
            None => Page::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        }
    }

    fn index(&self) -> Page {
        let lines = self
            .routes
            .iter()
            .flat_map(|(path, methods)| methods.keys().map(move |m| format!("{m} {path}\n")));
        Page::text(StatusCode::OK, lines.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::{Page, Pages};
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;

    async fn ask(pages: &Pages, method: &str, uri: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let (parts, body) = pages.answer(&request).into_parts();
        (parts.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn paths_methods_and_parameters_select_the_answer() {
        let pages = Pages::new()
            .get("/ready", |_| Page::text(StatusCode::OK, "yes"))
            .get("/logging", |_| Page::text(StatusCode::OK, "info"))
            .get("/decoded", |request| {
                Page::text(StatusCode::OK, request.decoded("level").unwrap_or_default())
            })
            .post("/logging", |request| {
                Page::text(StatusCode::OK, request.parameter("level").unwrap_or("none"))
            });
        for (method, uri, status, body) in [
            ("GET", "/ready", 200, "yes"),
            ("HEAD", "/ready", 200, "yes"),
            ("POST", "/ready", 405, "method not allowed\n"),
            ("GET", "/ready/", 404, "no such page\n"),
            ("GET", "/logging", 200, "info"),
            ("POST", "/logging?x=1&level=debug,h2=warn", 200, "debug,h2=warn"),
            ("POST", "/logging?levels=debug", 200, "none"),
            ("GET", "/decoded?a=1&level=a%2Cb%3D%5Bc%5D", 200, "a,b=[c]"),
            ("GET", "/help", 200, "GET /decoded\nGET /logging\nPOST /logging\nGET /ready\n"),
            ("GET", "/", 200, "GET /decoded\nGET /logging\nPOST /logging\nGET /ready\n"),
        ] {
            assert_eq!(
                ask(&pages, method, uri).await,
                (StatusCode::from_u16(status).unwrap(), body.into()),
                "{uri}"
            );
        }
    }
}
