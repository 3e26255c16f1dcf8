// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The typed configuration of the built-in HTTP filters, one file each; their decoders stand in `decode/filters`.

mod api_key_auth;
mod bandwidth_limit;
mod basic_auth;
mod buffer;
mod compressor;
mod cors;
mod csrf;
mod ext_authz;
mod ext_proc;
mod fault;
mod header_mutation;
mod health_check;
mod jwt_authn;
mod local_rate_limit;
mod oauth2;
mod rate_limit;
mod rbac;
mod set_metadata;

pub use api_key_auth::{ApiKeyAuth, ApiKeySource};
pub use bandwidth_limit::{Bandwidth, BandwidthLimit};
pub use basic_auth::{BasicAuth, Users};
pub use buffer::Buffer;
pub use compressor::{Compressor, Encoding};
pub use cors::CorsPolicy;
pub use csrf::CsrfPolicy;
pub use ext_authz::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
pub use ext_proc::{
    ATTRIBUTES, ExtProc, ExtProcRoute, ModeOverride, ProcBody, ProcMetadata, ProcessingMode, RouteCacheAction,
};
pub use fault::{FaultAbort, FaultAbortKind, FaultDelay, FaultInjection, FaultRate};
pub use header_mutation::{HeaderMutation, Mutations, QueryMutation};
pub use health_check::{GatewayHealth, GatewayHealthMode, HealthCache};
pub use jwt_authn::{
    ClaimHeader, JwksSource, JwtAllowance, JwtAuthn, JwtLocations, JwtProvider, JwtRequirement, JwtRoute,
    JwtRule, RemoteJwks, audience,
};
pub use local_rate_limit::{
    DescriptorEntry, LocalBuckets, LocalDescriptor, LocalRateLimit, RequestDescriptor, Taken, TokenBucket,
};
pub use oauth2::{AfterLogout, ClientAuth, Logout, OAuth2, OAuthCookie, OAuthCookies, OAuthLifetimes};
pub use rate_limit::{HostRules, RateLimit, RateLimitRoute};
pub use rbac::{MetadataMatcher, MetadataValue, Rbac, RbacAction, RbacCondition, RbacPolicy, RbacRules};
pub use set_metadata::{MetadataEntry, SetMetadata};
