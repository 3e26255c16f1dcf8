// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Pages of the admin port (loopback) and of the readiness port.

use crate::process::Shared;
use crate::{certificates, dump, metrics};
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
    let with = |answer: fn(&Shared) -> Page| {
        let shared = shared.clone();
        move |_: &PageRequest<'_>| answer(&shared)
    };
    let stats = {
        let (shared, registry) = (shared.clone(), registry.clone());
        move |_: &PageRequest<'_>| Page::text(StatusCode::OK, metrics::text(&shared, &registry))
    };
    let certs = {
        let shared = shared.clone();
        move |_: &PageRequest<'_>| Page::json(&certificates::view(&shared, &certificate))
    };
    let current = logs.clone();
    let pages = Pages::new()
        .get("/ready", with(ready))
        .get("/config_dump", with(|shared| Page::json(&dump::configuration(shared))))
        .get("/clusters", with(|shared| Page::json(&dump::clusters(shared))))
        .get("/listeners", with(|shared| Page::json(&dump::listeners(shared))))
        .get("/stats", stats)
        .get("/certs", certs)
        .get("/logging", move |_| Page::text(StatusCode::OK, format!("{}\n", current.filter())))
        .post("/logging", move |request| set_level(&logs, request));
    metrics::pages(pages, shared, registry)
}

/// The page of the readiness port.
pub(crate) fn readiness(shared: &Arc<Shared>) -> Pages {
    let shared = shared.clone();
    Pages::new().get("/healthz/ready", move |_| ready(&shared))
}

fn ready(shared: &Shared) -> Page {
    if shared.proxy_is_draining() {
        return Page::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let waiting = shared.readiness.waiting_for();
    if !waiting.is_empty() {
        return Page::text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")));
    }
    Page::text(StatusCode::OK, "ready\n")
}

fn set_level(logs: &LogHandle, request: &PageRequest<'_>) -> Page {
    let Some(level) = request.parameter("level") else {
        return Page::text(StatusCode::BAD_REQUEST, "say which: /logging?level=info,gateway_proxy=debug\n");
    };
    match logs.set_filter(level) {
        Ok(()) => {
            tracing::info!(filter = level, "log filter changed");
            Page::text(StatusCode::OK, format!("{}\n", logs.filter()))
        }
        Err(error) => Page::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
