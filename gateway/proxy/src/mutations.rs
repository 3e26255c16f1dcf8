// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes of routes, virtual hosts, tables and clusters: removals first, then additions, as in Envoy.

use crate::format::{LiveHeaders, Values, write_text};
use crate::one_line;
use gateway_config::{
    AppendAction, HeaderAddition, HeaderFormat, HeaderMutations, HeaderTarget, Operator, TableSettings,
};
use gateway_filter_api::{RequestHead, ResponseHead, is_authority};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The changes for one request in the order of their effect: a route's before the virtual host's before the table's, or the other way
/// round where the table says so. A weighted cluster's come first in any case, as in Envoy.
pub(crate) fn ordered<'a>(
    settings: &TableSettings,
    table: &'a HeaderMutations,
    host: &'a HeaderMutations,
    route: &'a HeaderMutations,
    cluster: &'a HeaderMutations,
) -> [&'a HeaderMutations; 4] {
    if settings.most_specific_headers_win {
        [cluster, table, host, route]
    } else {
        [cluster, route, host, table]
    }
}

/// Changes a request's headers. All values and conditions of one level see the headers as the level found them.
pub(crate) fn apply_to_request(head: &mut RequestHead, mutations: &HeaderMutations, values: &Values<'_>) {
    for name in &mutations.remove {
        head.headers.remove(name);
    }
    match &*mutations.add {
        [] => {}
        [only] => {
            let due = match &only.target {
                HeaderTarget::Header(name) => is_due(&head.headers, name, only.action),
                HeaderTarget::Authority => true,
            };
            if let Some(value) = due.then(|| value_of(only, head, None, values)).flatten() {
                put_in_request(head, only, value);
            }
        }
        several => {
            let made: Vec<_> = several
                .iter()
                .filter(|addition| match &addition.target {
                    HeaderTarget::Header(name) => is_due(&head.headers, name, addition.action),
                    HeaderTarget::Authority => true,
                })
                .filter_map(|addition| Some((addition, value_of(addition, head, None, values)?)))
                .collect();
            for (addition, value) in in_order(made) {
                put_in_request(head, addition, value);
            }
        }
    }
}

fn put_in_request(head: &mut RequestHead, addition: &HeaderAddition, value: HeaderValue) {
    match &addition.target {
        HeaderTarget::Header(name) => {
            put(&mut head.headers, name, value, addition.action, &one_line::OF_REQUESTS)
        }
        HeaderTarget::Authority
            if is_authority(value.as_bytes()) && addition.action != AppendAction::AddIfAbsent =>
        {
            head.authority = value;
        }
        HeaderTarget::Authority => {}
    }
}

/// Changes an answer's headers, in the same way.
pub(crate) fn apply_to_response(
    head: &mut ResponseHead,
    request: &RequestHead,
    mutations: &HeaderMutations,
    values: &Values<'_>,
) {
    for name in &mutations.remove {
        head.headers.remove(name);
    }
    let made: Vec<_> = mutations
        .add
        .iter()
        .filter_map(|addition| match &addition.target {
            HeaderTarget::Header(name) if is_due(&head.headers, name, addition.action) => {
                Some((addition, value_of(addition, request, Some(&head.headers), values)?))
            }
            _ => None,
        })
        .collect();
    for (addition, value) in in_order(made) {
        if let HeaderTarget::Header(name) = &addition.target {
            put(&mut head.headers, name, value, addition.action, &one_line::OF_ANSWERS);
        }
    }
}

/// What replaces comes before what is added, as in Envoy. Conditions are decided, so that they are not looked at again.
fn in_order(
    made: Vec<(&HeaderAddition, HeaderValue)>,
) -> impl Iterator<Item = (&HeaderAddition, HeaderValue)> {
    let (replacing, adding): (Vec<_>, Vec<_>) = made.into_iter().partition(|(addition, _)| {
        matches!(addition.action, AppendAction::Overwrite | AppendAction::OverwriteIfExists)
    });
    replacing.into_iter().chain(adding)
}

/// Whether an addition's condition holds.
fn is_due(headers: &HeaderMap, name: &HeaderName, action: AppendAction) -> bool {
    match action {
        AppendAction::Append | AppendAction::Overwrite => true,
        AppendAction::AddIfAbsent => !headers.contains_key(name),
        AppendAction::OverwriteIfExists => headers.contains_key(name),
    }
}

/// Whether any of the changes needs the request's headers.
pub(crate) fn reads_request(mutations: &HeaderMutations) -> bool {
    mutations.add.iter().any(|addition| match &addition.value {
        HeaderFormat::Literal(_) => false,
        HeaderFormat::Parts(format) => {
            format.commands().any(|command| command.operator.request_headers().next().is_some())
                || format
                    .commands()
                    .any(|command| matches!(command.operator, Operator::StreamId | Operator::TraceId))
        }
    })
}

/// Writes a header; conditions were looked at before.
fn put(
    headers: &mut HeaderMap,
    name: &HeaderName,
    value: HeaderValue,
    action: AppendAction,
    one_line: &[&str],
) {
    match action {
        AppendAction::Append | AppendAction::AddIfAbsent => one_line::append(headers, name, value, one_line),
        AppendAction::Overwrite | AppendAction::OverwriteIfExists => {
            headers.insert(name, value);
        }
    }
}

/// The value to write; none where it is empty and must not be.
fn value_of(
    addition: &HeaderAddition,
    request: &RequestHead,
    response: Option<&HeaderMap>,
    values: &Values<'_>,
) -> Option<HeaderValue> {
    match &addition.value {
        HeaderFormat::Literal(value) => (!value.is_empty() || addition.keep_empty).then(|| value.clone()),
        HeaderFormat::Parts(format) => {
            let headers = LiveHeaders { request, response };
            let client = values.record.map(|record| record.client.address);
            let mut text = Vec::new();
            write_text(&mut text, format, &Values { headers: Some(&headers), client, ..*values }, "");
            if text.is_empty() && !addition.keep_empty {
                return None;
            }
            HeaderValue::from_bytes(&text).ok()
        }
    }
}
