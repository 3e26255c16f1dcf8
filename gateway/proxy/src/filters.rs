// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The built-in HTTP filters, one file each. A filter is made once for each configured place and worker ([`Native::new`]) and once more
//! for each request that it acts on ([`Native::stream`]). What all workers share of it (a token bucket) is part of its
//! configuration, which they share too.

mod api_key_auth;
mod awaited;
mod basic_auth;
mod buffer;
mod compressor;
mod cors;
mod csrf;
mod ext_authz;
mod fault;
mod grpc_web;
mod header_mutation;
mod health_check;
mod jwt_authn;
mod local_rate_limit;
mod rate_limit;
mod rbac;

pub(crate) use jwt_authn::JwksCache;
pub(crate) use rbac::is as metadata_is;

use crate::connection::Connection;
use crate::metrics::{Number, WorkerMetrics};
use crate::routing::Routing;
use gateway_config::{
    ApiKeyAuth, BasicAuth, Buffer, Compressor, CsrfPolicy, FaultInjection, FilterSetting, GatewayHealth,
    HttpFilter as HttpFilterConfig, HttpFilterKind, LocalRateLimit, Mutations, Rbac,
};
use gateway_filter_api::HttpFilter;
use std::rc::Rc;
use std::sync::Arc;

/// A number of one worker; see [`WorkerMetrics::number`].
pub(crate) type Counter = Arc<Number>;

/// A built-in filter in its place on one worker: the listener's configuration and what its requests count.
#[derive(Debug)]
pub(crate) enum Native {
    ApiKeyAuth(Arc<ApiKeyAuth>, api_key_auth::Counters),
    BasicAuth(Arc<BasicAuth>, basic_auth::Counters),
    Buffer(Buffer),
    Compressor(Arc<Compressor>, Arc<[compressor::Offer]>, compressor::Counters),
    /// Policies stand at the routes.
    Cors,
    Csrf(Arc<CsrfPolicy>, csrf::Counters),
    ExtAuthz(ext_authz::Place),
    Fault(Arc<FaultInjection>, fault::Counters),
    GrpcWeb,
    HeaderMutation(Arc<Mutations>),
    HealthCheck(Arc<GatewayHealth>),
    JwtAuthn(jwt_authn::Place),
    LocalRateLimit(Arc<LocalRateLimit>, local_rate_limit::Counters),
    RateLimit(rate_limit::Place),
    Rbac(Arc<Rbac>, rbac::Counters),
}

/// Where a filter is made: what it may keep for its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// The `stat_prefix` of the listener's connection manager.
    pub(crate) stat_prefix: &'a str,
    /// All filters of the listener.
    pub(crate) filters: &'a [HttpFilterConfig],
    /// This worker's numbers; see [`WorkerMetrics::number`].
    pub(crate) metrics: &'a WorkerMetrics,
}

impl Site<'_> {
    /// A counter below the connection manager's prefix.
    fn http(self, name: &'static str) -> Counter {
        self.metrics.number(name, "envoy_http_conn_manager_prefix", self.stat_prefix)
    }
}

impl Native {
    /// The filter of a kind; none for the router and for plugins.
    pub(crate) fn new(kind: &HttpFilterKind, site: Site<'_>) -> Option<Self> {
        Some(match kind {
            HttpFilterKind::Router(_) | HttpFilterKind::Wasm(_) => return None,
            HttpFilterKind::ApiKeyAuth(keys) => Self::ApiKeyAuth(
                Arc::clone(keys),
                api_key_auth::Counters {
                    allowed: site.http("http_api_key_auth_allowed"),
                    unauthorized: site.http("http_api_key_auth_unauthorized"),
                    forbidden: site.http("http_api_key_auth_forbidden"),
                },
            ),
            HttpFilterKind::BasicAuth(users) => Self::BasicAuth(
                Arc::clone(users),
                basic_auth::Counters {
                    allowed: site.http("http_basic_auth_allowed"),
                    denied: site.http("http_basic_auth_denied"),
                },
            ),
            HttpFilterKind::Compressor(compressor) => {
                let offers = site.filters.iter().filter_map(|filter| match &filter.kind {
                    HttpFilterKind::Compressor(other) => Some(compressor::Offer::from(&**other)),
                    _ => None,
                });
                Self::Compressor(
                    Arc::clone(compressor),
                    offers.collect(),
                    compressor::Counters {
                        compressed: site.http("http_compressor_compressed"),
                        not_compressed: site.http("http_compressor_not_compressed"),
                        uncompressed_bytes: site.http("http_compressor_total_uncompressed_bytes"),
                        compressed_bytes: site.http("http_compressor_total_compressed_bytes"),
                    },
                )
            }
            HttpFilterKind::Buffer(buffer) => Self::Buffer(**buffer),
            HttpFilterKind::Cors => Self::Cors,
            HttpFilterKind::Csrf(policy) => Self::Csrf(
                Arc::clone(policy),
                csrf::Counters {
                    missing_source_origin: site.http("http_csrf_missing_source_origin"),
                    request_invalid: site.http("http_csrf_request_invalid"),
                    request_valid: site.http("http_csrf_request_valid"),
                },
            ),
            HttpFilterKind::ExtAuthz(config) => Self::ExtAuthz(ext_authz::Place::new(config, site)),
            HttpFilterKind::Fault(faults) => Self::Fault(
                Arc::clone(faults),
                fault::Counters {
                    delays_injected: site.http("http_fault_delays_injected"),
                    aborts_injected: site.http("http_fault_aborts_injected"),
                    faults_overflow: site.http("http_fault_faults_overflow"),
                    active: Arc::clone(&site.metrics.active_faults),
                },
            ),
            HttpFilterKind::GrpcWeb => Self::GrpcWeb,
            HttpFilterKind::HeaderMutation(mutations) => Self::HeaderMutation(Arc::clone(mutations)),
            HttpFilterKind::HealthCheck(config) => Self::HealthCheck(Arc::clone(config)),
            HttpFilterKind::JwtAuthn(config) => Self::JwtAuthn(jwt_authn::Place::new(config, site)),
            HttpFilterKind::LocalRateLimit(limit) => {
                let count =
                    |name| site.metrics.number(name, "envoy_local_http_ratelimit_prefix", &limit.stat_prefix);
                Self::LocalRateLimit(
                    Arc::clone(limit),
                    local_rate_limit::Counters {
                        enabled: count("http_local_rate_limit_enabled"),
                        enforced: count("http_local_rate_limit_enforced"),
                        rate_limited: count("http_local_rate_limit_rate_limited"),
                        ok: count("http_local_rate_limit_ok"),
                    },
                )
            }
            HttpFilterKind::RateLimit(config) => Self::RateLimit(rate_limit::Place::new(config, site)),
            HttpFilterKind::Rbac(rules) => Self::Rbac(
                Arc::clone(rules),
                rbac::Counters {
                    allowed: site.http("http_rbac_allowed"),
                    denied: site.http("http_rbac_denied"),
                    shadow_allowed: site.http("http_rbac_shadow_allowed"),
                    shadow_denied: site.http("http_rbac_shadow_denied"),
                },
            ),
        })
    }

    /// The filter of one request, by the setting of its route; none where there is nothing to do.
    pub(crate) fn stream(
        &self,
        setting: Option<&FilterSetting>,
        connection: &Rc<Connection>,
        routing: &Routing<'_>,
    ) -> Option<Box<dyn HttpFilter>> {
        Some(match self {
            Self::ApiKeyAuth(listener, counters) => Box::new(api_key_auth::CheckKey {
                listener: Arc::clone(listener),
                route: match setting {
                    Some(FilterSetting::ApiKeyAuth(own)) => Some(Arc::clone(own)),
                    _ => None,
                },
                counters: counters.clone(),
            }),
            Self::BasicAuth(listener, counters) => Box::new(basic_auth::CheckUser {
                config: Arc::clone(listener),
                route: match setting {
                    Some(FilterSetting::BasicAuth(own)) => Some(Arc::clone(own)),
                    _ => None,
                },
                counters: counters.clone(),
            }),
            Self::Compressor(listener, offers, counters) => {
                let own = match setting {
                    Some(FilterSetting::Compressor(own)) => *own,
                    _ => None,
                };
                Box::new(compressor::Compress::new(listener, offers, counters, own))
            }
            Self::Buffer(listener) => Box::new(buffer::Hold(match setting {
                Some(FilterSetting::Buffer(own)) => **own,
                _ => *listener,
            })),
            Self::Cors => match setting {
                Some(FilterSetting::Cors(policy)) => Box::new(cors::Cors::new(policy)),
                _ => return None,
            },
            Self::Csrf(listener, counters) => {
                let policy = match setting {
                    Some(FilterSetting::Csrf(own)) => own,
                    _ => listener,
                };
                Box::new(csrf::Csrf { policy: Arc::clone(policy), counters: counters.clone() })
            }
            Self::ExtAuthz(place) => match setting {
                Some(FilterSetting::ExtAuthz(own)) => Box::new(place.check(Some(own), connection)),
                _ => Box::new(place.check(None, connection)),
            },
            Self::Fault(listener, counters) => match setting {
                Some(FilterSetting::Fault(own)) => Box::new(fault::Inject::new(own, counters)),
                _ => Box::new(fault::Inject::new(listener, counters)),
            },
            Self::GrpcWeb => Box::new(grpc_web::GrpcWeb::default()),
            Self::HeaderMutation(listener) => {
                let own = match setting {
                    Some(FilterSetting::HeaderMutation(own)) => &**own,
                    _ => &[],
                };
                Box::new(header_mutation::Mutate(
                    std::iter::once(listener).chain(own).map(Arc::clone).collect(),
                ))
            }
            Self::HealthCheck(config) => Box::new(health_check::Check::new(config, connection)),
            Self::JwtAuthn(place) => match setting {
                Some(FilterSetting::JwtAuthn(own)) => Box::new(place.check(Some(own), connection)),
                _ => Box::new(place.check(None, connection)),
            },
            Self::LocalRateLimit(listener, counters) => match setting {
                Some(FilterSetting::LocalRateLimit(own)) => {
                    Box::new(local_rate_limit::Limit::new(own, counters))
                }
                _ => Box::new(local_rate_limit::Limit::new(listener, counters)),
            },
            Self::RateLimit(place) => match setting {
                Some(FilterSetting::RateLimit(own)) => Box::new(place.limit(Some(own), connection, routing)),
                _ => Box::new(place.limit(None, connection, routing)),
            },
            Self::Rbac(listener, counters) => match setting {
                Some(FilterSetting::Rbac(own)) => Box::new(rbac::Check::new(own, counters, routing)),
                _ => Box::new(rbac::Check::new(listener, counters, routing)),
            },
        })
    }
}
