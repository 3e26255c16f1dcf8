// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes of routes, virtual hosts, tables and clusters: removals first, then additions, as in Envoy.

use crate::access_log::protocol_text;
use gateway_config::{
    AppendAction, EndpointAddress, FormatPart, HeaderAddition, HeaderFormat, HeaderMutations, HeaderTarget,
    TableSettings,
};
use gateway_filter_api::{ConnectionInfo, RequestHead, ResponseHead, is_authority};
use http::header::{Entry, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;
use std::fmt::Write;

/// What substitution commands read.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    /// The connection.
    pub(crate) connection: &'a ConnectionInfo,
    /// The endpoint, once one answered.
    pub(crate) upstream: Option<&'a EndpointAddress>,
    /// The status of the answer.
    pub(crate) status: Option<StatusCode>,
}

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
        let Some(value) = value_of(addition, head, values) else { continue };
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
            && let Some(value) = value_of(addition, request, values)
        {
            put(&mut head.headers, name, value, addition.action);
        }
    }
}

/// Whether any of the changes needs the request's headers.
pub(crate) fn reads_request(mutations: &HeaderMutations) -> bool {
    mutations.add.iter().any(|addition| match &addition.value {
        HeaderFormat::Literal(_) => false,
        HeaderFormat::Parts(parts) => {
            parts.iter().any(|part| matches!(part, FormatPart::RequestHeader { .. }))
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
fn value_of(addition: &HeaderAddition, request: &RequestHead, values: &Values<'_>) -> Option<HeaderValue> {
    match &addition.value {
        HeaderFormat::Literal(value) => Some(value.clone()),
        HeaderFormat::Parts(parts) => {
            let mut text = Vec::new();
            for part in parts {
                text.extend_from_slice(&part_value(part, request, values));
            }
            if text.is_empty() && !addition.keep_empty {
                return None;
            }
            HeaderValue::from_bytes(&text).ok()
        }
    }
}

fn part_value<'a>(part: &'a FormatPart, request: &'a RequestHead, values: &Values<'_>) -> Cow<'a, [u8]> {
    let owned = |arguments: std::fmt::Arguments<'_>| {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text.write_fmt(arguments);
        Cow::Owned(text.into_bytes())
    };
    match part {
        FormatPart::Text(text) => Cow::Borrowed(text.as_bytes()),
        FormatPart::RequestHeader { name, fallback } => {
            let read = |name: &HeaderName| {
                if name == HOST { Some(&request.authority) } else { request.headers.get(name) }
            };
            let value = read(name).or_else(|| fallback.as_ref().and_then(read));
            Cow::Borrowed(value.map(HeaderValue::as_bytes).unwrap_or_default())
        }
        FormatPart::RemoteAddress => owned(format_args!("{}", values.connection.remote)),
        FormatPart::RemoteIp => owned(format_args!("{}", values.connection.remote.ip())),
        FormatPart::LocalAddress => owned(format_args!("{}", values.connection.local)),
        FormatPart::Protocol => Cow::Borrowed(protocol_text(request.version).as_bytes()),
        FormatPart::UpstreamHost => {
            values.upstream.map_or(Cow::Borrowed(&[]), |address| owned(format_args!("{address}")))
        }
        FormatPart::ResponseCode => {
            values.status.map_or(Cow::Borrowed(&[]), |status| owned(format_args!("{}", status.as_u16())))
        }
    }
}
