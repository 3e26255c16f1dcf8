// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a service decided, in the form that both kinds of service lead to.

use crate::service_changes::{HeaderChange, NotChanged};
use bytes::Bytes;
use gateway_filter_api::RequestHead;
use http::StatusCode;
use serde_json::{Map, Value};

/// What a service decided.
#[derive(Debug)]
pub(super) enum Decision {
    Allow(Box<Allowed>),
    Deny(Box<Denial>),
    /// It failed, perhaps with an answer for the client.
    Error(Option<Box<Denial>>),
}

/// What happens to a request that goes on.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) request: Vec<HeaderChange>,
    pub(super) remove: Vec<String>,
    pub(super) query_set: Vec<(String, String)>,
    pub(super) query_remove: Vec<String>,
    /// Changes of the upstream's answer.
    pub(super) response: Vec<HeaderChange>,
    pub(super) metadata: Map<String, Value>,
}

/// The answer to a request that does not.
#[derive(Debug, Default)]
pub(super) struct Denial {
    pub(super) status: Option<StatusCode>,
    pub(super) headers: Vec<HeaderChange>,
    pub(super) body: Bytes,
}

impl Allowed {
    pub(super) fn changes_query(&self) -> bool {
        !self.query_set.is_empty() || !self.query_remove.is_empty()
    }

    /// Changes the query: parameters that are set replace those of the same name.
    pub(super) fn change_query(&self, head: &mut RequestHead) -> Result<(), NotChanged> {
        if !self.changes_query() {
            return Ok(());
        }
        let unfit = |text: &String| text.contains(['&', '#', ' ']);
        if self.query_set.iter().any(|(name, value)| unfit(name) || name.contains('=') || unfit(value)) {
            return Err(NotChanged::Invalid);
        }
        let gone = |name: &str| {
            self.query_remove.iter().any(|gone| gone == name)
                || self.query_set.iter().any(|(set, _)| set == name)
        };
        let name_of = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
        let kept = head.path.query().into_iter().flat_map(|query| query.split('&'));
        let mut pairs: Vec<String> = kept.filter(|pair| !gone(&name_of(pair))).map(str::to_owned).collect();
        pairs.extend(self.query_set.iter().map(|(name, value)| format!("{name}={value}")));
        let path = match pairs.is_empty() {
            true => head.path.path().to_owned(),
            false => format!("{}?{}", head.path.path(), pairs.join("&")),
        };
        head.set(":path", path.as_bytes()).map_err(|_| NotChanged::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::Allowed;
    use gateway_filter_api::RequestHead;
    use http::{HeaderMap, HeaderValue, Method, Version};

    #[test]
    fn queries_change_by_name() {
        for (path, set, remove, expected) in [
            ("/a?b=1&c=2&b=3", &[("b", "9")][..], &[][..], "/a?c=2&b=9"),
            ("/a?b=1&c", &[], &["b", "c"], "/a"),
            ("/a", &[("x", "y")], &[], "/a?x=y"),
            ("/a?b=1", &[("x", "y&z=1")], &[], "/a?b=1"),
            ("/a?b=1", &[("x", "y#z")], &[], "/a?b=1"),
        ] {
            let mut head = RequestHead {
                method: Method::GET,
                https: false,
                authority: HeaderValue::from_static("a"),
                path: path.parse().unwrap(),
                headers: HeaderMap::new(),
                version: Version::HTTP_11,
            };
            let allowed = Allowed {
                query_set: set
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                query_remove: remove.iter().map(|name| (*name).to_owned()).collect(),
                ..Allowed::default()
            };
            assert_eq!(allowed.change_query(&mut head).is_err(), path == expected, "{path}");
            assert_eq!(head.path.as_str(), expected);
        }
    }
}
