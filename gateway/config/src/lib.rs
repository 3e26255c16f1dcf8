// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy v3 resources, validated and compiled into what the proxy serves.
//!
//! Bytes come in per resource ([`ConfigStore::apply`]), an immutable [`Snapshot`] goes out. Every part of a snapshot is compiled:
//! expressions are built, hosts and paths are indexed, certificates are parsed. A part that did not change keeps its allocation.
//!
//! Invariants:
//! - A field that has no effect here is a [`Rejection`] or a [`Warning`] that names it, never silence.
//! - One bad resource never stops the others; the version of it that was good before keeps serving.
//! - No I/O, no clock, no panic on any bytes.

mod access_log;
mod action;
mod bootstrap;
mod client_address;
mod client_certificate;
mod cluster;
mod decode;
mod diagnostics;
mod endpoints;
mod filter_chain;
mod filters;
mod format;
mod fraction;
mod hash_policy;
mod header_mutation;
mod health_check;
mod http_connection_manager;
mod http_filter;
mod internal_redirect;
mod jwks;
pub mod last_good;
mod listener;
mod load_balancing;
mod local_reply;
mod metadata;
mod mutation_rules;
mod network_gate;
mod path_index;
mod plugins;
mod rate_limit;
mod retry;
mod route;
mod route_match;
mod route_table;
mod router;
mod secret;
mod services;
mod sharded_map;
mod snapshot;
mod socket;
mod store;
mod string_matcher;
mod tcp_proxy;
mod tracing;
mod udp_proxy;
mod upstream_policy;
mod virtual_host;
mod wildcard_hosts;

pub use access_log::{
    AccessLog, AccessLogs, Comparison, ComparisonKind, LogFilter, LogFormat, LogLine, LogSink,
};
pub use action::{
    Action, DirectResponse, Forward, HostRewrite, Mirror, PathRewrite, Redirect, RedirectPath,
    StreamDuration, UpgradeRule, WeightedCluster, WeightedClusters, expected_timeout,
};
pub use bootstrap::{
    AdsProtocol, Bootstrap, BootstrapError, ControlPlane, ControlPlaneNode, ControlPlaneTls, Fleet,
    Membership, Node, ProcessLimits, Relay, Source,
};
pub use client_address::{AddressSource, Clients};
pub use client_certificate::{ClientCertificateHeader, ClientCertificateMode};
pub use cluster::{
    Cluster, ConnectionSettings, Discovery, DnsFamily, DnsServers, DnsSettings, Keepalive, TcpKeepalive,
    UpstreamProtocol,
};
pub use diagnostics::{Rejection, Warning};
pub use endpoints::{Endpoint, EndpointAddress, EndpointCheck, EndpointHealth, Endpoints, Locality, Place};
pub use filter_chain::{ChainFacts, ChainMatch, FilterChain, FilterChains, NetworkFilter, SameMatch};
pub use filters::{
    ATTRIBUTES, AfterLogout, ApiKeyAuth, ApiKeySource, AuthzBody, AuthzHttp, AuthzService, Bandwidth,
    BandwidthLimit, BasicAuth, Buffer, ClaimHeader, ClientAuth, Compressor, CorsPolicy, CsrfPolicy,
    DescriptorEntry, Encoding, ExtAuthz, ExtAuthzRoute, ExtProc, ExtProcRoute, FaultAbort, FaultAbortKind,
    FaultDelay, FaultInjection, FaultRate, GatewayHealth, GatewayHealthMode, HeaderMutation, HealthCache,
    HostRules, JwksSource, JwtAllowance, JwtAuthn, JwtLocations, JwtProvider, JwtRequirement, JwtRoute,
    JwtRule, LocalBuckets, LocalDescriptor, LocalRateLimit, Logout, MetadataEntry, MetadataMatcher,
    MetadataValue, ModeOverride, Mutations, OAuth2, OAuthCookie, OAuthCookies, OAuthLifetimes, ProcBody,
    ProcMetadata, ProcessingMode, QueryMutation, RateLimit, RateLimitRoute, Rbac, RbacAction, RbacCondition,
    RbacPolicy, RbacRules, RemoteJwks, RequestDescriptor, RouteCacheAction, SetMetadata, Taken, TokenBucket,
    Users, audience,
};
pub use format::{
    AddressOf, AddressPart, Command, Format, GrpcForm, JsonFormat, Operator, PeerField, Piece, Precision,
    RequestHeader, TimePoint,
};
pub use fraction::Fraction;
pub use hash_policy::{GeneratedCookie, HashPolicy, HashSource};
pub use header_mutation::{AppendAction, HeaderAddition, HeaderFormat, HeaderMutations, HeaderTarget};
pub use health_check::{CheckIntervals, HealthCheck, HealthProbe, HttpProbe};
pub use http_connection_manager::{
    Codec, EscapedSlashes, Forwarding, HttpConnectionManager, HttpLimits, HttpTimeouts, PathOptions,
    RouteSource, ServerHeader, StripPort, Underscores,
};
pub use http_filter::{HttpFilter, HttpFilterKind, WasmFailurePolicy, WasmFilter, WasmModule};
pub use internal_redirect::{InternalRedirects, RedirectCondition};
pub use jwks::{Curve, Jwk, Jwks, JwksError, KeyMaterial};
pub use listener::{DownstreamTls, Listener, ProxyProtocol};
pub use load_balancing::{
    Balancing, HashFunction, Hashing, LoadBalancing, LocalityBalancing, SlowStart, SubsetFallback,
    SubsetSelector, Subsets, ZoneAware,
};
pub use local_reply::{BodyFormat, LocalReplies, ReplyMapper};
pub use metadata::{LbMetadata, LbValue};
pub use mutation_rules::MutationRules;
pub use network_gate::{ConnectionLimit, ConnectionRate, ConnectionSeat, NetworkGate, NetworkRbac};
pub use plugins::plugins_of;
pub use rate_limit::{RateLimitAction, RateLimitRule};
pub use retry::{RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy};
pub use route::{FilterSetting, FilterSettings, Route};
pub use route_match::{
    CookieMatcher, HeaderMatcher, HeaderSource, PathMatcher, QueryMatcher, RequestView, RouteMatcher,
    ValueMatcher,
};
pub use route_table::{RouteFound, RouteTable, TableSettings};
pub use router::{RouterOptions, StrictHeader};
pub use secret::{GenericSecret, Pins, Revocations, Secret, SecretKind, Validation};
pub use services::{GrpcService, HttpService, ServiceRetries};
pub use sharded_map::ShardedMap;
pub use snapshot::{LocalZone, Snapshot};
pub use socket::{ConnectProxy, ProxyHeader, ProxyHeaderVersion, RequestNames, SocketMatch, UpstreamSocket};
pub use store::{Applied, ConfigStore, Update, Waiting};
pub use string_matcher::{FullRegex, StringMatcher, StringPattern};
pub use tcp_proxy::{TcpCluster, TcpProxy};
pub use tracing::{Collector, TagValue, Tracing};
pub use udp_proxy::{DatagramHash, UdpProxy};
pub use upstream_policy::{
    CircuitBreakers, ClusterLimits, FailurePercentage, OutlierDetection, RateDetection, RetryBudget,
    RoutingPriority, SanKind, SanMatcher, SecretSource, SuccessRate, UpstreamTls,
};
pub use virtual_host::{AttemptHeaders, RequireTls, VirtualHost};
