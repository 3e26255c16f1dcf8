// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Pages about the process: `/ready`, `/server_info`, `/memory`.

use super::{config_dump, json};
use crate::process::Shared;
use crate::stats::{State, state};
use gateway_telemetry::{Page, PageRequest, resident_bytes};
use http::StatusCode;
use serde_json::json;

/// `/ready`: Envoy's word for the state; then what is waited for.
pub(super) fn ready(shared: &Shared, _: &PageRequest<'_>) -> Page {
    let state = state(shared);
    let status = if state == State::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let waiting = shared.readiness.waiting_for();
    let detail = match state {
        State::Initializing => format!("waiting for: {}\n", waiting.join(", ")),
        State::Live | State::Draining => String::new(),
    };
    Page::text(status, format!("{}\n{detail}", state.as_str()))
}

/// `/server_info` (`envoy.admin.v3.ServerInfo`).
pub(super) fn info(shared: &Shared, _: &PageRequest<'_>) -> Page {
    let bootstrap = &shared.bootstrap;
    let uptime = format!("{}s", shared.started.elapsed().unwrap_or_default().as_secs());
    let revision = option_env!("GATEFLEET_REVISION").unwrap_or("unknown");
    json::page(&json!({
        "version": format!("{revision}/{}/gatefleet-gateway/RELEASE/aws-lc", env!("CARGO_PKG_VERSION")),
        "state": state(shared).as_str(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {
            "concurrency": shared.proxy.worker_count(),
            "drain_time": format!("{}s", bootstrap.drain_seconds),
        },
        "node": config_dump::node(bootstrap),
    }))
}

/// `/memory` (`envoy.admin.v3.Memory`), as far as the system tells.
pub(super) fn memory(_: &Shared, _: &PageRequest<'_>) -> Page {
    let resident = resident_bytes().map(|bytes| bytes.to_string());
    json::page(&json!({"total_physical_bytes": resident}))
}
