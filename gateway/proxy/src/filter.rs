// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The filters of one request: built-in ones by enum, plugins behind the seam.

use crate::answer::{Answer, Failure, from_filter, is_grpc};
use crate::connection::Connection;
use crate::cors;
use crate::flags::ResponseFlags;
use crate::http_settings::{ConfiguredFilter, FilterKind, HttpSettings};
use gateway_config::{CorsPolicy, FilterSetting, Route, TableSettings, WasmFailurePolicy};
use gateway_filter_api::{ConnectionInfo, FilterContext, HttpFilter, LocalResponse, Outcome, Phase, RequestHead, RequestLog, ResponseHead};
use http::StatusCode;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// The filters that act on one request, in order.
pub(crate) struct FilterStreams {
    plugins: Vec<Box<dyn HttpFilter>>,
    cors: Option<cors::Allowed>,
    /// The request as the plugins left it; they read it until the end.
    head: Option<RequestHead>,
    route: Box<str>,
}

/// A filter that is on for a route.
enum Active<'a> {
    Cors(&'a Arc<CorsPolicy>),
    Plugin(Box<dyn HttpFilter>),
    /// A plugin that can not run.
    Broken(WasmFailurePolicy),
}

/// What the request filters decided.
pub(crate) enum Filtered<'a> {
    /// The request goes on.
    Pass,
    /// The route is to be chosen anew.
    Reroute,
    /// It is answered.
    Answer(Answer<'a>, &'static str),
}

impl fmt::Debug for FilterStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterStreams").field("plugins", &self.plugins.len()).field("cors", &self.cors).finish_non_exhaustive()
    }
}

/// Whether any filter may act on requests of this route; most listeners have none, and pay nothing.
pub(crate) fn any(settings: &HttpSettings) -> bool {
    !settings.filters.is_empty()
}

impl FilterStreams {
    /// The filters that are on for a route.
    pub(crate) fn new(route: &Route) -> Box<Self> {
        Box::new(Self { plugins: Vec::new(), cors: None, head: None, route: route.name.clone() })
    }

    /// Whether plugins act on this request.
    pub(crate) fn has_plugins(&self) -> bool {
        !self.plugins.is_empty()
    }

    /// Runs the request's head through the filters.
    pub(crate) async fn on_request_headers<'a>(
        &mut self,
        head: &mut RequestHead,
        end_of_stream: bool,
        connection: &Rc<Connection>,
        place: (&HttpSettings, &Route, &TableSettings),
    ) -> Filtered<'a> {
        let (settings, route, table) = place;
        let mut reroute = false;
        for filter in &settings.filters {
            let Some(active) = active(filter, route, table, connection) else { continue };
            match active {
                Active::Cors(policy) => match cors::decide(policy, head) {
                    cors::Decision::Pass => {}
                    cors::Decision::Allow(allowed) => self.cors = Some(allowed),
                    cors::Decision::Answer(answer) => return Filtered::Answer(answer, "cors_response"),
                },
                Active::Broken(WasmFailurePolicy::FailOpen) => {}
                Active::Broken(_) => {
                    let failure = Failure {
                        status: StatusCode::SERVICE_UNAVAILABLE,
                        body: "",
                        flags: ResponseFlags::default(),
                        details: "plugin_not_running",
                    };
                    return Filtered::Answer(failure.answer(is_grpc(head)), failure.details);
                }
                Active::Plugin(mut plugin) => {
                    let mut context = FilterContext {
                        request: head,
                        response: None,
                        connection: connection.info(),
                        route: &self.route,
                        cluster: None,
                        reroute: false,
                    };
                    let outcome = plugin.on_request_headers(&mut context, end_of_stream);
                    let response = settle(&mut *plugin, &mut context, outcome, Phase::RequestHeaders).await;
                    reroute |= context.reroute;
                    self.plugins.push(plugin);
                    if let Some(response) = response {
                        let details = response.details;
                        return Filtered::Answer(from_filter(*response, is_grpc(head)), details);
                    }
                }
            }
        }
        if self.has_plugins() {
            self.head = Some(head.clone());
        }
        if reroute { Filtered::Reroute } else { Filtered::Pass }
    }

    /// Runs a response's head through the filters, in the opposite order; a filter may replace it by an answer of its own.
    pub(crate) async fn on_response_headers(
        &mut self,
        response: &mut ResponseHead,
        request: &RequestHead,
        end_of_stream: bool,
        connection: &ConnectionInfo,
    ) -> Option<Box<LocalResponse>> {
        for plugin in self.plugins.iter_mut().rev() {
            let head = self.head.get_or_insert_with(|| request.clone());
            let mut context =
                FilterContext { request: head, response: Some(response), connection, route: &self.route, cluster: None, reroute: false };
            let outcome = plugin.on_response_headers(&mut context, end_of_stream);
            if let Some(local) = settle(&mut **plugin, &mut context, outcome, Phase::ResponseHeaders).await {
                return Some(local);
            }
        }
        if let Some(allowed) = &self.cors {
            allowed.apply(response);
        }
        None
    }

    /// The request is over.
    pub(crate) fn on_log(&mut self, connection: &ConnectionInfo, log: &RequestLog) {
        let Some(head) = &mut self.head else { return };
        for plugin in self.plugins.iter_mut().rev() {
            let mut context = FilterContext { request: head, response: None, connection, route: &self.route, cluster: None, reroute: false };
            plugin.on_log(&mut context, log);
        }
    }
}

/// Waits out the pauses of a callback; gives back the answer where the filter ends the request.
async fn settle(
    plugin: &mut dyn HttpFilter,
    context: &mut FilterContext<'_>,
    mut outcome: Outcome,
    phase: Phase,
) -> Option<Box<LocalResponse>> {
    loop {
        match outcome {
            Outcome::Continue | Outcome::Buffer => return None,
            Outcome::Respond(response) => return Some(response),
            Outcome::Pause(pause) => {
                pause.await;
                outcome = plugin.on_resume(context, phase);
            }
        }
    }
}

fn active<'a>(filter: &ConfiguredFilter, route: &'a Route, table: &'a TableSettings, connection: &Connection) -> Option<Active<'a>> {
    let setting = route.filters.get(&filter.name).or_else(|| table.filters.get(&filter.name));
    match (&filter.kind, setting) {
        (_, Some(FilterSetting::Disabled)) => None,
        (FilterKind::Cors, Some(FilterSetting::Cors(policy))) => Some(Active::Cors(policy)),
        (FilterKind::Cors, _) => None,
        (FilterKind::Plugin(..), None) if filter.disabled => None,
        (FilterKind::Plugin(plugin, policy), _) => Some(match plugin.running() {
            Some(running) => Active::Plugin(running.stream(connection.info())),
            None => Active::Broken(*policy),
        }),
    }
}
