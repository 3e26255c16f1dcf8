// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `/listeners` as Envoy writes it: where listeners are open.

use super::hosts;
use super::json;
use crate::process::Shared;
use gateway_config::EndpointAddress;
use gateway_telemetry::{Page, PageRequest};
use gateway_xds_api::pb::envoy::admin::v3::{ListenerStatus, Listeners};
use http::StatusCode;

/// The page.
pub(super) fn page(shared: &Shared, request: &PageRequest<'_>) -> Page {
    let open = shared.proxy.listeners();
    if request.parameter("format") != Some("json") {
        let lines = open.iter().map(|listener| format!("{}::{}\n", listener.name, listener.address));
        return Page::text(StatusCode::OK, lines.collect::<String>());
    }
    let status = |listener: gateway_proxy::ListenerStatus| ListenerStatus {
        name: listener.name,
        local_address: Some(hosts::address(&EndpointAddress::Socket(listener.address))),
        ..ListenerStatus::default()
    };
    json::message(&Listeners { listener_statuses: open.into_iter().map(status).collect() })
}
