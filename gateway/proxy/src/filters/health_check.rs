// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Health checks of the gateway by a load balancer before it. While the gateway drains they fail, and every answer says so.

use crate::connection::Connection;
use crate::routing::view;
use gateway_config::{EndpointHealth, GatewayHealth, GatewayHealthMode, HealthCache};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, ResponseFlags};
use http::{HeaderName, HeaderValue, StatusCode};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

static CHECKED_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");
static IMMEDIATE_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
static DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");

/// Looks at one request.
#[derive(Debug)]
pub(crate) struct Check {
    config: Arc<GatewayHealth>,
    connection: Rc<Connection>,
    is_check: bool,
    failing: bool,
}

/// An answer: status, whether degraded, details.
type Verdict = (StatusCode, bool, &'static str);

impl Check {
    pub(crate) fn new(config: &Arc<GatewayHealth>, connection: &Rc<Connection>) -> Self {
        let failing = connection.listener().is_draining();
        Self { config: Arc::clone(config), connection: Rc::clone(connection), is_check: false, failing }
    }

    fn cache(&self) -> Option<&HealthCache> {
        match &self.config.mode {
            GatewayHealthMode::PassThrough(cache) => cache.as_ref(),
            GatewayHealthMode::Answer(_) => None,
        }
    }

    /// None: the upstream is asked.
    fn verdict(&self) -> Option<Verdict> {
        if self.failing {
            return Some((StatusCode::SERVICE_UNAVAILABLE, false, "health_check_failed"));
        }
        match &self.config.mode {
            GatewayHealthMode::PassThrough(cache) => {
                let (status, degraded) = cache.as_ref()?.get(Instant::now())?;
                Some((StatusCode::from_u16(status).ok()?, degraded, "health_check_cached"))
            }
            GatewayHealthMode::Answer(clusters) => {
                let failed = clusters.iter().find_map(|(name, percent)| self.too_few(name, *percent));
                Some(match failed {
                    Some(details) => (StatusCode::SERVICE_UNAVAILABLE, false, details),
                    None if clusters.is_empty() => (StatusCode::OK, false, "health_check_ok"),
                    None => (StatusCode::OK, false, "health_check_ok_cluster_healthy"),
                })
            }
        }
    }

    /// Why a cluster has too few available endpoints.
    fn too_few(&self, name: &str, percent: u32) -> Option<&'static str> {
        let worker = self.connection.worker();
        let snapshot = worker.snapshot();
        let Some((_, endpoints)) = snapshot.cluster(name) else {
            return Some("health_check_failed_no_cluster_found");
        };
        let out = worker.shared().upstream.cluster(name).hosts();
        let out = |address: &_| {
            out.iter().any(|host| host.address() == address && (host.is_ejected() || host.failed_checks()))
        };
        let localities = endpoints.iter().flat_map(|endpoints| &endpoints.localities);
        let (mut total, mut available) = (0_u64, 0_u64);
        for endpoint in localities.flat_map(|locality| &locality.endpoints) {
            total += 1;
            let told = matches!(endpoint.health, EndpointHealth::Healthy | EndpointHealth::Degraded);
            available += u64::from(told && !out(&endpoint.address));
        }
        match total {
            0 if percent > 0 => Some("health_check_failed_cluster_empty"),
            _ if 100 * available < total * u64::from(percent) => {
                Some("health_check_failed_cluster_unhealthy")
            }
            _ => None,
        }
    }
}

impl HttpFilter for Check {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let view = view(context.request, 0);
        self.is_check = self.config.headers.iter().all(|header| header.is_match(&view));
        let Some((status, degraded, details)) = self.is_check.then(|| self.verdict()).flatten() else {
            return Outcome::Continue;
        };
        if !status.is_success() {
            *context.flags |= ResponseFlags::FAILED_LOCAL_HEALTH_CHECK;
        }
        let mut answer = LocalResponse::new(status, details);
        if degraded {
            answer.headers.insert(DEGRADED.clone(), HeaderValue::from_static(""));
        }
        Outcome::Respond(Box::new(answer))
    }

    fn is_finished(&self) -> bool {
        !self.is_check && !self.failing
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let Some(response) = &mut context.response else { return Outcome::Continue };
        if !self.is_check {
            response.headers.insert(IMMEDIATE_FAIL.clone(), HeaderValue::from_static("true"));
            return Outcome::Continue;
        }
        if let Some(cache) = self.cache().filter(|cache| !self.failing && cache.get(Instant::now()).is_none())
        {
            let degraded = response.headers.contains_key(&DEGRADED);
            cache.keep(Instant::now(), response.status.as_u16(), degraded);
        }
        if let Ok(cluster) = HeaderValue::from_str(&self.connection.worker().shared().options.node_cluster) {
            response.headers.insert(CHECKED_CLUSTER.clone(), cluster);
        }
        Outcome::Continue
    }
}
