// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One route: its conditions, its action, its header changes and filter settings.

use crate::{
    Action, ApiKeyAuth, BandwidthLimit, Buffer, CorsPolicy, CsrfPolicy, ExtAuthzRoute, ExtProcRoute,
    FaultInjection, HeaderMutations, JwtRoute, LocalRateLimit, Mutations, RateLimitRoute, Rbac, RouteMatcher,
    Users,
};
use std::sync::Arc;

/// One route of a virtual host.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name of the rule, for logs and statistics: `<kind>/<ns>/<name>/<rule>/<match>` from our control plane; may be empty.
    pub name: Box<str>,
    /// Which requests.
    pub matcher: RouteMatcher,
    /// What happens to them.
    pub action: Action,
    /// Changes of requests; the route's come first, then the virtual host's, then the table's.
    pub request_headers: HeaderMutations,
    /// Changes of answers, in the same order.
    pub response_headers: HeaderMutations,
    /// Settings of filters here (`typed_per_filter_config`), the virtual host's folded in.
    pub filters: FilterSettings,
}

/// Settings of HTTP filters for a part of the routes; the most specific wins.
#[derive(Clone, Debug, Default)]
pub struct FilterSettings {
    /// By the filter's name in the listener.
    pub by_name: Box<[(Box<str>, FilterSetting)]>,
}

/// The setting of one filter.
#[derive(Clone, Debug)]
pub enum FilterSetting {
    /// Off for these requests.
    Disabled,
    /// On for these requests, also where the listener has it off.
    Enabled,
    /// On, with this cross-origin policy.
    Cors(Arc<CorsPolicy>),
    /// On, with these settings instead of the listener's, one by one.
    ApiKeyAuth(Arc<ApiKeyAuth>),
    /// On, with this limit of its own.
    BandwidthLimit(Arc<BandwidthLimit>),
    /// On, with these users.
    BasicAuth(Arc<Users>),
    /// On; whether `accept-encoding` is removed, where that is another than the listener's.
    Compressor(Option<bool>),
    /// On, with this limit.
    Buffer(Arc<Buffer>),
    /// On, with these origins.
    Csrf(Arc<CsrfPolicy>),
    /// On, told and asked so.
    ExtAuthz(Arc<ExtAuthzRoute>),
    /// On, with this mode and service.
    ExtProc(Arc<ExtProcRoute>),
    /// On, with these faults.
    Fault(Arc<FaultInjection>),
    /// On, with these changes after the listener's: the route's, then its virtual host's.
    HeaderMutation(Box<[Arc<Mutations>]>),
    /// On, with this requirement.
    JwtAuthn(Arc<JwtRoute>),
    /// On, with this limit of its own.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// On, with these descriptors.
    RateLimit(Arc<RateLimitRoute>),
    /// On, with these rules.
    Rbac(Arc<Rbac>),
}

impl FilterSetting {
    /// The kind of filter that it is for, in the words of Envoy's extension names; `any` where it fits all.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disabled | Self::Enabled => "any",
            Self::Cors(_) => "cors",
            Self::ApiKeyAuth(_) => "api_key_auth",
            Self::BandwidthLimit(_) => "bandwidth_limit",
            Self::BasicAuth(_) => "basic_auth",
            Self::Compressor(_) => "compressor",
            Self::Buffer(_) => "buffer",
            Self::Csrf(_) => "csrf",
            Self::ExtAuthz(_) => "ext_authz",
            Self::JwtAuthn(_) => "jwt_authn",
            Self::ExtProc(_) => "ext_proc",
            Self::Fault(_) => "fault",
            Self::HeaderMutation(_) => "header_mutation",
            Self::LocalRateLimit(_) => "local_ratelimit",
            Self::RateLimit(_) => "ratelimit",
            Self::Rbac(_) => "rbac",
        }
    }
}

impl FilterSettings {
    /// The setting of a filter.
    #[must_use]
    pub fn get(&self, filter: &str) -> Option<&FilterSetting> {
        self.by_name.iter().find(|(name, _)| &**name == filter).map(|(_, setting)| setting)
    }
}
