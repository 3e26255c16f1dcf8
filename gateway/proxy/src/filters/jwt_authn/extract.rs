// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where the tokens of a request are.

use crate::filters::joined::joined;
use gateway_config::{JwtAuthn, JwtProvider};
use gateway_filter_api::RequestHead;
use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use std::borrow::Cow;

/// The most tokens of one provider that a request may have; more is no token at all, as each has to be checked.
const MAX_TOKENS: usize = 16;

/// A token that a provider could have given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The provider's place.
    pub(super) provider: usize,
    pub(super) token: String,
    pub(super) at: At,
}

/// Where a token was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Header(HeaderName),
    Param(Box<str>),
    Cookie,
}

/// All tokens, by provider.
pub(super) fn extract(config: &JwtAuthn, head: &RequestHead) -> Vec<Found> {
    let mut found = Vec::new();
    for (place, provider) in config.providers.iter().enumerate() {
        let of = |(token, at)| Found { provider: place, token, at };
        found.extend(tokens(provider, head).take(MAX_TOKENS).map(of));
    }
    found
}

fn tokens<'a>(provider: &'a JwtProvider, head: &'a RequestHead) -> impl Iterator<Item = (String, At)> + 'a {
    let locations = &provider.locations;
    let headers = locations.headers.iter().flat_map(|(name, prefix)| {
        let lines = head.headers.get_all(name).iter().map(|line| Cow::Borrowed(line.as_bytes()));
        // Whoever reads the request later may take any of several; they are one value, which is no token.
        let whole = (name == AUTHORIZATION).then(|| joined(&head.headers, name)).flatten();
        let values = whole.into_iter().chain(lines.filter(move |_| name != AUTHORIZATION));
        let texts = values.filter_map(|value| String::from_utf8(value.into_owned()).ok());
        texts.filter_map(move |value| {
            let after = &value[value.find(&**prefix)? + prefix.len()..];
            Some((token(after), At::Header(name.clone())))
        })
    });
    let params = locations.params.iter().flat_map(|name| {
        let pairs = head.path.query().into_iter().flat_map(|query| query.split('&'));
        let values = pairs.filter_map(move |pair| {
            let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
            (own == &**name).then_some(value)
        });
        values
            .filter(|value| !value.is_empty())
            .map(move |value| (decoded(value).into_owned(), At::Param(name.clone())))
    });
    let cookies = locations.cookies.iter().flat_map(|name| {
        let values = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let own = pairs.filter(move |(own, _)| *own == &**name).map(|(_, value)| value.trim_matches('"'));
        own.filter(|value| !value.is_empty()).map(|value| (value.to_owned(), At::Cookie))
    });
    headers.chain(params).chain(cookies)
}

/// From the first character that a token is made of; what follows it is checked with it.
fn token(text: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text[text.find(part).unwrap_or_default()..].to_owned()
}

/// Percent signs are rare in tokens, as none of their characters needs one.
fn decoded(value: &str) -> Cow<'_, str> {
    match value.contains('%') {
        false => Cow::Borrowed(value),
        true => percent_encoding::percent_decode_str(value).decode_utf8_lossy(),
    }
}
