// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header and query changes at a filter's place in the chain.

use crate::format::Values;
use crate::mutations::{apply_to_request, apply_to_response};
use gateway_config::{HeaderMutation, Mutations, QueryMutation, StringMatcher};
use gateway_filter_api::{FilterContext, HttpFilter, Outcome};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;

/// The changes of one request: the listener's first, then the route's.
#[derive(Debug)]
pub(crate) struct Mutate(pub(crate) Box<[Arc<Mutations>]>);

impl HttpFilter for Mutate {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let values = Values {
            route: Some(context.route),
            metadata: Some(context.metadata),
            ..Values::of(context.connection)
        };
        for mutations in &self.0 {
            for mutation in &mutations.request {
                match mutation {
                    HeaderMutation::Change(change) => apply_to_request(context.request, change, &values),
                    HeaderMutation::RemoveMatching(matcher) => {
                        remove_matching(&mut context.request.headers, matcher);
                    }
                }
            }
            if !mutations.query.is_empty() {
                // What is no path after the change stays as it was: names and values are checked when they are read.
                if let Ok(path) = changed_query(&context.request.path, &mutations.query).parse() {
                    context.request.path = path;
                }
            }
        }
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        self.0.iter().all(|mutations| mutations.response.is_empty())
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let Some(response) = &mut context.response else { return Outcome::Continue };
        let values = Values {
            status: Some(response.status),
            route: Some(context.route),
            metadata: Some(context.metadata),
            ..Values::of(context.connection)
        };
        for mutation in self.0.iter().flat_map(|mutations| &mutations.response) {
            match mutation {
                HeaderMutation::Change(change) => {
                    apply_to_response(response, context.request, change, &values);
                }
                HeaderMutation::RemoveMatching(matcher) => remove_matching(&mut response.headers, matcher),
            }
        }
        Outcome::Continue
    }
}

fn remove_matching(headers: &mut HeaderMap, matcher: &StringMatcher) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| matcher.is_match(name.as_str().as_bytes())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn changed_query(path: &PathAndQuery, mutations: &[QueryMutation]) -> String {
    let mut parameters: Vec<String> = path
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|parameter| !parameter.is_empty())
        .map(str::to_owned)
        .collect();
    let name_of = |parameter: &str| parameter.split_once('=').map_or(parameter, |(name, _)| name).to_owned();
    for mutation in mutations {
        let has = |key: &str, parameters: &[String]| parameters.iter().any(|other| name_of(other) == key);
        let (key, value) = match mutation {
            QueryMutation::Remove(key) => (key, None),
            QueryMutation::Append(key, value)
            | QueryMutation::AddIfAbsent(key, value)
            | QueryMutation::Overwrite(key, value)
            | QueryMutation::OverwriteIfExists(key, value) => (key, Some(value)),
        };
        let there = has(key, &parameters);
        let skip = match mutation {
            QueryMutation::AddIfAbsent(..) => there,
            QueryMutation::OverwriteIfExists(..) => !there,
            _ => false,
        };
        if skip {
            continue;
        }
        if !matches!(mutation, QueryMutation::Append(..) | QueryMutation::AddIfAbsent(..)) {
            parameters.retain(|other| name_of(other) != **key);
        }
        if let Some(value) = value {
            parameters.push(format!("{key}={value}"));
        }
    }
    match parameters.is_empty() {
        true => path.path().to_owned(),
        false => format!("{}?{}", path.path(), parameters.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::changed_query;
    use gateway_config::QueryMutation::{AddIfAbsent, Append, Overwrite, OverwriteIfExists, Remove};

    #[test]
    fn queries_change_in_order() {
        let text = |text: &str| text.into();
        for (path, mutation, expected) in [
            ("/a?x=1&y=2", Remove(text("x")), "/a?y=2"),
            ("/a?x=1", Remove(text("x")), "/a"),
            ("/a?x=1", Append(text("x"), text("2")), "/a?x=1&x=2"),
            ("/a", Append(text("x"), text("2")), "/a?x=2"),
            ("/a?x=1", AddIfAbsent(text("x"), text("2")), "/a?x=1"),
            ("/a?y", AddIfAbsent(text("x"), text("2")), "/a?y&x=2"),
            ("/a?x=1&z&x=3", Overwrite(text("x"), text("2")), "/a?z&x=2"),
            ("/a", OverwriteIfExists(text("x"), text("2")), "/a"),
            ("/a?x", OverwriteIfExists(text("x"), text("2")), "/a?x=2"),
        ] {
            assert_eq!(changed_query(&path.parse().unwrap(), &[mutation]), expected, "{path}");
        }
    }
}
