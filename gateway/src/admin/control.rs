// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What changes the process: log levels, failing health checks, the end of listeners.

use crate::process::Shared;
use gateway_telemetry::{LogHandle, Page, PageRequest};
use http::StatusCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const USAGE: &str = "usage: /logging?level=<level> (all loggers)\nusage: /logging?<logger>=<level> (one logger)\n\
                     usage: /logging?paths=name1:level1,name2:level2,... (several loggers)\n\
                     levels: trace debug info warning error critical off; or /logging?level=<filter>, such as info,gateway_proxy=debug\n";

/// `GET /logging`: the levels in force.
pub(super) fn loggers(logs: &LogHandle) -> Page {
    Page::text(StatusCode::OK, listed(&logs.filter()))
}

fn listed(filter: &str) -> String {
    let mut text = String::from("active loggers:\n");
    for directive in filter.split(',') {
        let (name, level) = directive.split_once('=').unwrap_or(("all others", directive));
        text.push_str(&format!("  {name}: {level}\n"));
    }
    text
}

/// `POST /logging`.
pub(super) fn set_levels(logs: &LogHandle, request: &PageRequest<'_>) -> Page {
    let Some(filter) = changed(&logs.filter(), request) else {
        return Page::text(StatusCode::BAD_REQUEST, USAGE);
    };
    match logs.set_filter(&filter) {
        Ok(()) => {
            tracing::info!(filter, "log filter changed");
            loggers(logs)
        }
        Err(error) => Page::text(StatusCode::BAD_REQUEST, format!("{error}\n{USAGE}")),
    }
}

/// The filter after the request; none where it asks for nothing that can be.
fn changed(filter: &str, request: &PageRequest<'_>) -> Option<String> {
    let mut parameters = request.parameters();
    let (name, value) = parameters.next()?;
    if parameters.next().is_some() {
        return None;
    }
    let mut levels: BTreeMap<&str, &str> =
        filter.split(',').map(|directive| directive.split_once('=').unwrap_or(("", directive))).collect();
    match &*name {
        "level" => return Some(level(&value).map_or_else(|| value.to_string(), str::to_owned)),
        "paths" => {
            for path in value.split(',') {
                let (name, named) = path.split_once(':')?;
                levels.insert(Some(name).filter(|name| is_name(name))?, level(named)?);
            }
        }
        name => _ = levels.insert(Some(name).filter(|name| is_name(name))?, level(&value)?),
    }
    let directive = |(name, level): (&str, &str)| match name {
        "" => level.to_owned(),
        name => format!("{name}={level}"),
    };
    Some(levels.into_iter().map(directive).collect::<Vec<_>>().join(","))
}

/// Our word for one of Envoy's levels.
fn level(text: &str) -> Option<&'static str> {
    Some(match text {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => return None,
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// `POST /healthcheck/fail` and `/healthcheck/ok`: load balancers should stay away, or may come back.
pub(super) fn fail_health_checks(shared: &Shared, fail: bool) -> Page {
    shared.failing.store(fail, Ordering::Relaxed);
    tracing::info!(fail, "health checks of this gateway set by the admin port");
    Page::text(StatusCode::OK, "OK\n")
}

/// `POST /drain_listeners`: no new connections; with `graceful` only after the time that a drain gives load balancers, in which
/// connections end with their current request.
pub(super) fn drain_listeners(shared: &Arc<Shared>, request: &PageRequest<'_>) -> Page {
    if request.parameter("inboundonly").is_some() {
        let text = "inboundonly: the listeners of a gateway have no direction; leave it out\n";
        return Page::text(StatusCode::BAD_REQUEST, text);
    }
    let graceful = request.parameter("graceful").is_some();
    let grace = if graceful { Duration::from_secs(shared.bootstrap.drain_seconds) } else { Duration::ZERO };
    let shared = shared.clone();
    // Pages are written on threads of the runtime.
    tokio::spawn(async move { shared.proxy.close_listeners(grace).await });
    Page::text(StatusCode::OK, "OK\n")
}

#[cfg(test)]
mod tests {
    use super::{changed, listed};
    use gateway_telemetry::{Page, PageRequest, Pages};
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;

    /// What becomes of a filter by a query; `-` for nothing.
    async fn after(filter: &'static str, query: &str) -> String {
        let answer = move |request: &PageRequest<'_>| {
            Page::text(StatusCode::OK, changed(filter, request).unwrap_or_else(|| "-".to_owned()))
        };
        let pages = Pages::new().post("/logging", answer);
        let request = Request::post(format!("/logging?{query}")).body(()).unwrap();
        let body = pages.answer(&request).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn levels_change_as_envoy_lets_them() {
        for (filter, query, wanted) in [
            ("info", "level=debug", "debug"),
            ("info", "level=warning", "warn"),
            ("info,h2=debug", "level=critical", "error"),
            ("info", "level=info,gateway_proxy=debug", "info,gateway_proxy=debug"),
            ("info", "gateway_proxy=debug", "info,gateway_proxy=debug"),
            ("info,gateway_proxy=debug", "gateway_proxy=off", "info,gateway_proxy=off"),
            ("info", "paths=h2:warning,gateway_proxy:trace", "info,gateway_proxy=trace,h2=warn"),
            ("info", "", "-"),
            ("info", "gateway_proxy=loud", "-"),
            ("info", "a%20b=info", "-"),
            ("info", "paths=h2", "-"),
            ("info", "level=info&h2=debug", "-"),
        ] {
            assert_eq!(after(filter, query).await, wanted, "{filter} {query}");
        }
        assert_eq!(listed("info,h2=warn"), "active loggers:\n  all others: info\n  h2: warn\n");
    }
}
