// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Redirects of upstreams that the gateway follows itself: the request begins anew at its filters, with another host and path.

use crate::answer::{Answer, Source};
use crate::filter::PendingBody;
use crate::path::{Canonical, canonical};
use crate::record::Record;
use crate::routing::Routing;
use gateway_config::{Action, InternalRedirects, RedirectCondition};
use gateway_filter_api::{RequestHead, is_authority};
use http::header::{CONTENT_LENGTH, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

static ORIGINAL_URL: HeaderName = HeaderName::from_static("x-envoy-original-url");

/// The redirects of one request.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    count: u32,
    /// Routes that they led to.
    routes: Vec<Box<str>>,
}

impl Followed {
    /// Where an answer is a redirect that is to be followed: changes head and routing for it, and gives the body to send again.
    pub(crate) fn follow(
        &mut self,
        answer: &Answer<'_>,
        record: &mut Record,
        head: &mut RequestHead,
        routing: &mut Routing<'_>,
    ) -> Option<PendingBody> {
        let (Source::Cluster(_), Action::Forward(forward)) = (answer.source, &routing.found.route.action)
        else {
            return None;
        };
        let policy = forward.internal_redirects.as_ref()?;
        if self.count >= policy.max || !policy.statuses.contains(&answer.head.status) {
            return None;
        }
        let mut body = match &record.body {
            None => PendingBody::none(),
            Some(body) => PendingBody::complete(body.whole()?),
        };
        let location: Uri = answer.head.headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
        let https = scheme(&location)?;
        if https != head.https && !policy.cross_scheme {
            return None;
        }
        let mut next = moved(head, location, answer, policy)?;
        let mut way = routing.clone();
        match canonical(&next.path, record.serving.settings.http.path) {
            Canonical::Same => {}
            Canonical::Changed(path) => next.path = path,
            Canonical::Redirect(_) | Canonical::Refused => return None,
        }
        if !way.again(&next) || !self.accepts(policy, &way.found.route.name, (head.https, https)) {
            return None;
        }
        next.https = https;
        if answer.head.status == StatusCode::SEE_OTHER && !matches!(next.method, Method::GET | Method::HEAD) {
            next.method = Method::GET;
            next.headers.remove(CONTENT_LENGTH);
            body = PendingBody::none();
        }
        self.count += 1;
        self.routes.push(way.found.route.name.clone());
        (*head, *routing) = (next, way);
        // What was counted belongs to the request that is over.
        (record.attempts, record.body) = (0, None);
        record.keep_routing(routing);
        Some(body)
    }

    fn accepts(&self, policy: &InternalRedirects, route: &str, (was_https, https): (bool, bool)) -> bool {
        policy.conditions.iter().all(|condition| match condition {
            RedirectCondition::Allowed(names) => names.iter().any(|name| **name == *route),
            RedirectCondition::NotPrevious => !self.routes.iter().any(|name| **name == *route),
            RedirectCondition::SafeScheme => was_https || !https,
        })
    }
}

/// Whether an absolute location is https; none for other schemes and for relative ones, which are passed on.
fn scheme(location: &Uri) -> Option<bool> {
    match location.scheme_str()? {
        "http" => Some(false),
        "https" => Some(true),
        _ => None,
    }
}

/// The request for the new location.
fn moved(
    head: &RequestHead,
    location: Uri,
    answer: &Answer<'_>,
    policy: &InternalRedirects,
) -> Option<RequestHead> {
    let authority = location.authority()?.as_str();
    if !is_authority(authority.as_bytes()) {
        return None;
    }
    let before = format!("{}://{}{}", head.scheme(), head.authority(), head.path);
    let mut next = head.clone();
    next.authority = HeaderValue::from_str(authority).ok()?;
    next.path = location.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    for name in &policy.copied_headers {
        next.headers.remove(name);
        for value in answer.head.headers.get_all(name) {
            next.headers.append(name, value.clone());
        }
    }
    next.headers.insert(ORIGINAL_URL.clone(), HeaderValue::try_from(before).ok()?);
    Some(next)
}
