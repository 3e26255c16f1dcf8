// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The HTTP settings of a filter chain together with what a worker needs to serve by them.

use crate::access_log::LogWriter;
use crate::filters::{Native, Site};
use crate::metrics::HttpMetrics;
use crate::options::Limits;
use crate::plugin::Plugin;
use crate::trace::Tracer;
use gateway_config::{HttpConnectionManager, HttpFilterKind, WasmFailurePolicy, WasmFilter};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What a worker serves a filter chain with.
#[derive(Debug)]
pub(crate) struct HttpSettings {
    /// As configured.
    pub(crate) http: Arc<HttpConnectionManager>,
    /// Numbers of this worker for its `stat_prefix`.
    pub(crate) metrics: Arc<HttpMetrics>,
    /// In the order of the configuration; none where a log can not be opened.
    pub(crate) logs: Box<[Option<Rc<LogWriter>>]>,
    /// Traces requests, where that is configured.
    pub(crate) tracer: Option<Tracer>,
    /// In order, without the router.
    pub(crate) filters: Box<[ConfiguredFilter]>,
}

/// A filter in its place on this worker.
#[derive(Debug)]
pub(crate) struct ConfiguredFilter {
    /// What routes refer to it by.
    pub(crate) name: Box<str>,
    /// Off where a route does not switch it on.
    pub(crate) disabled: bool,
    pub(crate) kind: FilterKind,
}

/// The built-in filters, and the seam for the others.
#[derive(Debug)]
pub(crate) enum FilterKind {
    /// Built in.
    Native(Native),
    /// A plugin, and what happens to requests while it can not run.
    Plugin(Plugin, WasmFailurePolicy),
}

impl HttpSettings {
    /// How long a request's head may take.
    pub(crate) fn head_limit(&self, limits: &Limits) -> Duration {
        self.http.timeouts.request_headers.unwrap_or(limits.request_headers)
    }

    /// How long a client may let a body or an answer wait: the safe limit, or less where the configuration says so.
    pub(crate) fn stalled(&self, limits: &Limits) -> Duration {
        self.http.timeouts.stream_idle.map_or(limits.stalled, |limit| limit.min(limits.stalled))
    }

    /// Puts the settings together; `site` is where its built-in filters stand, `plugin` makes a plugin's part on this worker.
    pub(crate) fn new(
        http: &Arc<HttpConnectionManager>,
        metrics: Arc<HttpMetrics>,
        logs: Box<[Option<Rc<LogWriter>>]>,
        site: Site<'_>,
        mut plugin: impl FnMut(&str, &Arc<WasmFilter>) -> Plugin,
    ) -> Self {
        let filters = http.filters.iter().filter_map(|filter| {
            let kind = match &filter.kind {
                HttpFilterKind::Wasm(wasm) => {
                    FilterKind::Plugin(plugin(&filter.name, wasm), wasm.failure_policy)
                }
                native => FilterKind::Native(Native::new(native, site)?),
            };
            Some(ConfiguredFilter { name: filter.name.clone(), disabled: filter.disabled, kind })
        });
        Self { filters: filters.collect(), http: Arc::clone(http), metrics, logs, tracer: None }
    }
}
