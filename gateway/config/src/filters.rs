// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The typed configuration of the built-in HTTP filters, one file each; their decoders stand in `decode/filters`.

mod api_key_auth;
mod basic_auth;
mod buffer;
mod compressor;
mod cors;
mod csrf;
mod ext_authz;
mod fault;
mod header_mutation;
mod health_check;
mod jwt_authn;
mod local_rate_limit;
mod rate_limit;
mod rbac;

pub use api_key_auth::{ApiKeyAuth, ApiKeySource};
pub use basic_auth::{BasicAuth, Users};
pub use buffer::Buffer;
pub use compressor::{Compressor, Encoding};
pub use cors::CorsPolicy;
pub use csrf::CsrfPolicy;
pub use ext_authz::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
pub use fault::{FaultAbort, FaultAbortKind, FaultDelay, FaultInjection};
pub use header_mutation::{HeaderMutation, Mutations, QueryMutation};
pub use health_check::{GatewayHealth, GatewayHealthMode, HealthCache};
pub use jwt_authn::{
    ClaimHeader, JwksSource, JwtAllowance, JwtAuthn, JwtLocations, JwtProvider, JwtRequirement, JwtRoute,
    JwtRule, RemoteJwks, audience,
};
pub use local_rate_limit::{LocalRateLimit, Taken, TokenBucket};
pub use rate_limit::{HostRules, RateLimit, RateLimitRoute};
pub use rbac::{MetadataMatcher, MetadataValue, Rbac, RbacAction, RbacCondition, RbacPolicy, RbacRules};
