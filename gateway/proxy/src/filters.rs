// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The built-in HTTP filters, one file each. A filter is made once for each configured place and worker ([`Native::new`]) and once more
//! for each request that it acts on ([`Native::stream`]). What all workers share of it (a token bucket) is part of its
//! configuration, which they share too.

mod api_key_auth;
mod awaited;
mod bandwidth_limit;
mod basic_auth;
mod buffer;
mod compressor;
mod cors;
mod csrf;
mod ext_authz;
mod ext_proc;
mod fault;
mod grpc_web;
mod header_mutation;
mod health_check;
mod joined;
mod jwt_authn;
mod local_rate_limit;
mod oauth2;
mod rate_limit;
mod rbac;
mod set_metadata;

pub(crate) use grpc_web::decode as decode_grpc_web;
pub(crate) use jwt_authn::JwksCache;
pub(crate) use local_rate_limit::bucket_time;

use crate::connection::Connection;
use crate::metrics::{Number, WorkerMetrics};
use crate::routing::Routing;
use gateway_config::{
    ApiKeyAuth, BandwidthLimit, BasicAuth, Buffer, Compressor, CsrfPolicy, FaultInjection, FilterSetting,
    GatewayHealth, HttpFilter as HttpFilterConfig, HttpFilterKind, LocalRateLimit, Mutations, Rbac,
    SetMetadata,
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
    BandwidthLimit(Arc<BandwidthLimit>, bandwidth_limit::Counters),
    BasicAuth(Arc<BasicAuth>, basic_auth::Counters),
    Buffer(Buffer),
    Compressor(Arc<Compressor>, Arc<[compressor::Offer]>, compressor::Counters),
    /// Policies stand at the routes.
    Cors,
    Csrf(Arc<CsrfPolicy>, csrf::Counters),
    ExtAuthz(ext_authz::Place),
    ExtProc(ext_proc::Place),
    Fault(Arc<FaultInjection>, fault::Counters),
    GrpcWeb,
    HeaderMutation(Arc<Mutations>),
    HealthCheck(Arc<GatewayHealth>),
    JwtAuthn(jwt_authn::Place),
    LocalRateLimit(Arc<LocalRateLimit>, local_rate_limit::Counters),
    OAuth2(oauth2::Place),
    RateLimit(rate_limit::Place),
    Rbac(Arc<Rbac>, rbac::Counters),
    SetMetadata(Arc<SetMetadata>),
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
            HttpFilterKind::ApiKeyAuth(keys) => {
                Self::ApiKeyAuth(Arc::clone(keys), api_key_auth::Counters::new(site))
            }
            HttpFilterKind::BandwidthLimit(limit) => {
                let count =
                    |name| site.metrics.number(name, "envoy_http_bandwidth_limit_prefix", &limit.stat_prefix);
                Self::BandwidthLimit(
                    Arc::clone(limit),
                    bandwidth_limit::Counters {
                        request_enforced: count("http_bandwidth_limit_request_enforced"),
                        response_enforced: count("http_bandwidth_limit_response_enforced"),
                    },
                )
            }
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
            HttpFilterKind::ExtProc(config) => Self::ExtProc(ext_proc::Place::new(config, site)),
            HttpFilterKind::Fault(faults) => Self::Fault(Arc::clone(faults), fault::Counters::new(site)),
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
            HttpFilterKind::OAuth2(config) => Self::OAuth2(oauth2::Place::new(config, site)),
            HttpFilterKind::RateLimit(config) => Self::RateLimit(rate_limit::Place::new(config, site)),
            HttpFilterKind::SetMetadata(values) => Self::SetMetadata(Arc::clone(values)),
            HttpFilterKind::Rbac(rules) => Self::Rbac(Arc::clone(rules), rbac::Counters::new(site)),
        })
    }

    /// The filter of one request, by the setting of its route; none where there is nothing to do.
    pub(crate) fn stream(
        &self,
        setting: Option<&FilterSetting>,
        connection: &Rc<Connection>,
        routing: &Routing<'_>,
    ) -> Option<Box<dyn HttpFilter>> {
        /// The route's own setting of a kind.
        macro_rules! own {
            ($kind:ident) => {
                match setting {
                    Some(FilterSetting::$kind(own)) => Some(own),
                    _ => None,
                }
            };
        }
        Some(match self {
            Self::ApiKeyAuth(listener, counters) => Box::new(api_key_auth::CheckKey {
                listener: Arc::clone(listener),
                route: own!(ApiKeyAuth).map(Arc::clone),
                counters: counters.clone(),
            }),
            Self::BandwidthLimit(listener, counters) => {
                let config = own!(BandwidthLimit).unwrap_or(listener);
                Box::new(bandwidth_limit::Slow::new(config, counters)?)
            }
            Self::BasicAuth(listener, counters) => Box::new(basic_auth::CheckUser {
                config: Arc::clone(listener),
                route: own!(BasicAuth).map(Arc::clone),
                counters: counters.clone(),
            }),
            Self::Compressor(listener, offers, counters) => {
                let own = own!(Compressor).copied().flatten();
                Box::new(compressor::Compress::new(listener, offers, counters, own))
            }
            Self::Buffer(listener) => Box::new(buffer::Hold(own!(Buffer).map_or(*listener, |own| **own))),
            Self::Cors => Box::new(cors::Cors::new(own!(Cors)?)),
            Self::Csrf(listener, counters) => Box::new(csrf::Csrf {
                policy: Arc::clone(own!(Csrf).unwrap_or(listener)),
                counters: counters.clone(),
            }),
            Self::ExtAuthz(place) => Box::new(place.check(own!(ExtAuthz), connection)),
            Self::ExtProc(place) => Box::new(place.process(own!(ExtProc), connection)),
            Self::Fault(listener, counters) => {
                Box::new(fault::Inject::new(own!(Fault).unwrap_or(listener), counters))
            }
            Self::GrpcWeb => Box::new(grpc_web::GrpcWeb::default()),
            Self::HeaderMutation(listener) => {
                let own = own!(HeaderMutation).map(|own| &**own).unwrap_or_default();
                let all = std::iter::once(listener).chain(own).map(Arc::clone);
                Box::new(header_mutation::Mutate(all.collect()))
            }
            Self::HealthCheck(config) => Box::new(health_check::Check::new(config, connection)),
            Self::JwtAuthn(place) => Box::new(place.check(own!(JwtAuthn), connection)),
            Self::LocalRateLimit(listener, counters) => {
                let config = own!(LocalRateLimit).unwrap_or(listener);
                Box::new(local_rate_limit::Limit::new(config, counters, connection, routing))
            }
            Self::OAuth2(place) => Box::new(place.login(connection)),
            Self::RateLimit(place) => Box::new(place.limit(own!(RateLimit), connection, routing)),
            Self::Rbac(listener, counters) => {
                Box::new(rbac::Check::new(own!(Rbac).unwrap_or(listener), counters, routing))
            }
            Self::SetMetadata(values) => Box::new(set_metadata::Set(Arc::clone(values))),
        })
    }
}
