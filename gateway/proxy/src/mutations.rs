// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes of routes, virtual hosts, tables and clusters: removals first, then additions, as in Envoy.

use crate::client_address::client_address;
use crate::format::{LiveHeaders, Values, write_text};
use gateway_config::{
    AddressOf, AppendAction, HeaderAddition, HeaderFormat, HeaderMutations, HeaderTarget, Operator,
    TableSettings,
};
use gateway_filter_api::{RequestHead, ResponseHead, is_authority};
use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The changes for one request in the order of their effect: a cluster's and a route's before the virtual host's before the table's,
/// or the other way round where the table says so.
pub(crate) fn ordered<'a>(
    settings: &TableSettings,
    table: &'a HeaderMutations,
    host: &'a HeaderMutations,
    route: &'a HeaderMutations,
    cluster: &'a HeaderMutations,
) -> [&'a HeaderMutations; 4] {
    if settings.most_specific_headers_win {
        [table, host, route, cluster]
    } else {
        [cluster, route, host, table]
    }
}

/// Changes a request's headers.
pub(crate) fn apply_to_request(head: &mut RequestHead, mutations: &HeaderMutations, values: &Values<'_>) {
    for name in &mutations.remove {
        head.headers.remove(name);
    }
    for addition in &mutations.add {
        let Some(value) = value_of(addition, head, None, values) else { continue };
        match &addition.target {
            HeaderTarget::Header(name) => put(&mut head.headers, name, value, addition.action),
            HeaderTarget::Authority
                if is_authority(value.as_bytes()) && addition.action != AppendAction::AddIfAbsent =>
            {
                head.authority = value;
            }
            HeaderTarget::Authority => {}
        }
    }
}

/// Changes an answer's headers.
pub(crate) fn apply_to_response(
    head: &mut ResponseHead,
    request: &RequestHead,
    mutations: &HeaderMutations,
    values: &Values<'_>,
) {
    for name in &mutations.remove {
        head.headers.remove(name);
    }
    for addition in &mutations.add {
        if let HeaderTarget::Header(name) = &addition.target
            && let Some(value) = value_of(addition, request, Some(&head.headers), values)
        {
            put(&mut head.headers, name, value, addition.action);
        }
    }
}

/// Whether any of the changes needs the request's headers.
pub(crate) fn reads_request(mutations: &HeaderMutations) -> bool {
    mutations.add.iter().any(|addition| match &addition.value {
        HeaderFormat::Literal(_) => false,
        HeaderFormat::Parts(format) => {
            format.commands().any(|command| command.operator.request_headers().next().is_some())
                || format.commands().any(|command| {
                    matches!(
                        command.operator,
                        Operator::StreamId | Operator::TraceId | Operator::Address(AddressOf::Client, _)
                    )
                })
        }
    })
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, action: AppendAction) {
    match action {
        AppendAction::Append => {
            headers.append(name, value);
        }
        AppendAction::Overwrite => {
            headers.insert(name, value);
        }
        AppendAction::AddIfAbsent => {
            if let Entry::Vacant(vacant) = headers.entry(name) {
                vacant.insert(value);
            }
        }
        AppendAction::OverwriteIfExists => {
            if let Entry::Occupied(mut occupied) = headers.entry(name) {
                occupied.insert(value);
            }
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
        HeaderFormat::Literal(value) => Some(value.clone()),
        HeaderFormat::Parts(format) => {
            let headers = LiveHeaders { request, response };
            let client = values.record.map(|record| {
                let peer = record.connection.info().remote.ip().to_canonical();
                client_address(&request.headers, peer, record.serving.settings.http.forwarding)
            });
            let mut text = Vec::new();
            write_text(&mut text, format, &Values { headers: Some(&headers), client, ..*values }, "");
            if text.is_empty() && !addition.keep_empty {
                return None;
            }
            HeaderValue::from_bytes(&text).ok()
        }
    }
}
