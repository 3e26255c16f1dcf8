// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the client is told about its limits (draft-polli-ratelimit-headers-03).

use crate::service_changes::{ChangeAction, HeaderChange};
use gateway_filter_api::ResponseHead;
use gateway_xds_api::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, rate_limit::Unit,
};
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use std::fmt::Write;

/// Headers for the client.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) headers: Vec<HeaderChange>,
}

impl Told {
    /// Adds the limits: the one that is used up first, and all with their windows.
    pub(super) fn limits(&mut self, statuses: &[DescriptorStatus]) {
        let limited = || statuses.iter().filter_map(|status| Some((status, status.current_limit.as_ref()?)));
        let Some((status, limit)) = limited().min_by_key(|(status, _)| status.limit_remaining) else {
            return;
        };
        let mut policy = limit.requests_per_unit.to_string();
        for (_, limit) in limited() {
            let Some(window) = window(limit.unit()) else { continue };
            // Writing to a String does not fail.
            let _ = write!(policy, ", {};w={window}", limit.requests_per_unit);
            if !limit.name.is_empty() {
                let _ = write!(policy, ";name=\"{}\"", limit.name);
            }
        }
        let reset = status.duration_until_reset.map_or(0, |duration| duration.seconds);
        for (name, value) in [
            ("x-ratelimit-limit", policy),
            ("x-ratelimit-remaining", status.limit_remaining.to_string()),
            ("x-ratelimit-reset", reset.to_string()),
        ] {
            self.headers.push(HeaderChange::new(name, value.as_bytes(), ChangeAction::Set));
        }
    }

    /// Puts them on an answer; what is not fit for the wire is passed over.
    pub(super) fn apply(&self, head: &mut ResponseHead) {
        for change in self.headers.iter().filter(|change| change.name != ":status") {
            let _ = change.apply(head, None);
        }
    }
}

/// Seconds.
fn window(unit: Unit) -> Option<u32> {
    Some(match unit {
        Unit::Unknown => return None,
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 60 * 60,
        Unit::Day => 24 * 60 * 60,
        Unit::Week => 7 * 24 * 60 * 60,
        Unit::Month => 30 * 24 * 60 * 60,
        Unit::Year => 365 * 24 * 60 * 60,
    })
}

/// The longest wait among the limits that are used up, unless the service gave one.
pub(super) fn retry_after(statuses: &[DescriptorStatus], headers: &mut HeaderMap) {
    let over = statuses.iter().filter(|status| status.code() == Code::OverLimit);
    let longest = over.map(|status| status.duration_until_reset.map_or(0, |duration| duration.seconds)).max();
    if let Some(seconds) = longest.filter(|_| !headers.contains_key(RETRY_AFTER)) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
}
