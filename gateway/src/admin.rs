// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Pages of the admin port (loopback) and of the readiness port.

mod certs;
mod clusters;
mod config_dump;
mod control;
mod hosts;
mod json;
mod listeners;
mod server;
pub(crate) mod stats;

use crate::process::Shared;
use crate::{dump, metrics};
use gateway_telemetry::{LogHandle, Page, PageRequest, Pages};
use gateway_xds_client::CertificateWatch;
use http::StatusCode;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// All pages of the admin port.
pub(crate) fn pages(
    shared: &Arc<Shared>,
    registry: &Arc<Registry>,
    certificate: CertificateWatch,
    logs: LogHandle,
) -> Pages {
    let asked = |answer: fn(&Shared, &PageRequest<'_>) -> Page| {
        let shared = shared.clone();
        move |request: &PageRequest<'_>| answer(&shared, request)
    };
    let numbers = {
        let (shared, registry) = (shared.clone(), registry.clone());
        move |request: &PageRequest<'_>| stats::page(&shared, &registry, request)
    };
    let certs = {
        let shared = shared.clone();
        move |_: &PageRequest<'_>| certs::page(&shared, &certificate)
    };
    let drain = {
        let shared = shared.clone();
        move |request: &PageRequest<'_>| control::drain_listeners(&shared, request)
    };
    let current = logs.clone();
    let pages = Pages::new()
        .get("/ready", asked(server::ready))
        .get("/server_info", asked(server::info))
        .get("/memory", asked(server::memory))
        .get("/config_dump", asked(config_dump::page))
        .get("/config_dump/gatefleet", asked(|shared, _| Page::json(&dump::configuration(shared))))
        .get("/clusters", asked(clusters::page))
        .get("/listeners", asked(listeners::page))
        .get("/stats", numbers)
        .get("/certs", certs)
        .get("/logging", move |_| control::loggers(&current))
        .post("/logging", move |request| control::set_levels(&logs, request))
        .post("/healthcheck/fail", asked(|shared, _| control::fail_health_checks(shared, true)))
        .post("/healthcheck/ok", asked(|shared, _| control::fail_health_checks(shared, false)))
        .post("/drain_listeners", drain);
    metrics::pages(pages, shared, registry)
}

/// The page of the readiness port.
pub(crate) fn readiness(shared: &Arc<Shared>) -> Pages {
    let shared = shared.clone();
    Pages::new().get("/healthz/ready", move |_| ready(&shared))
}

fn ready(shared: &Shared) -> Page {
    if shared.proxy_is_draining() || shared.fails_health_checks() {
        return Page::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let waiting = shared.readiness.waiting_for();
    if !waiting.is_empty() {
        return Page::text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")));
    }
    Page::text(StatusCode::OK, "ready\n")
}
