// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP filters of a listener.

use crate::{
    ApiKeyAuth, BandwidthLimit, BasicAuth, Buffer, Compressor, CsrfPolicy, ExtAuthz, ExtProc, FaultInjection,
    GatewayHealth, JwtAuthn, LocalRateLimit, Mutations, OAuth2, RateLimit, Rbac, RouterOptions, SetMetadata,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A filter in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpFilter {
    /// The name by which routes refer to it.
    pub name: Box<str>,
    /// Off where a route does not switch it on.
    pub disabled: bool,
    /// What it is.
    pub kind: HttpFilterKind,
}

/// What a filter is.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpFilterKind {
    /// Sends requests to the upstream; always the last.
    Router(Arc<RouterOptions>),
    /// Cross-origin resource sharing; policies stand at routes.
    Cors,
    /// Clients show a key.
    ApiKeyAuth(Arc<ApiKeyAuth>),
    /// Bodies go slowly.
    BandwidthLimit(Arc<BandwidthLimit>),
    /// Clients show a name and a password.
    BasicAuth(Arc<BasicAuth>),
    /// Answers are compressed.
    Compressor(Arc<Compressor>),
    /// Complete requests only.
    Buffer(Arc<Buffer>),
    /// Requests that change something come from known origins only.
    Csrf(Arc<CsrfPolicy>),
    /// A service decides.
    ExtAuthz(Arc<ExtAuthz>),
    /// A service reads and changes.
    ExtProc(Arc<ExtProc>),
    /// Delays and aborts on purpose.
    Fault(Arc<FaultInjection>),
    /// Browsers' calls as gRPC.
    GrpcWeb,
    /// Header changes.
    HeaderMutation(Arc<Mutations>),
    /// Checks of the gateway itself.
    HealthCheck(Arc<GatewayHealth>),
    /// Tokens.
    JwtAuthn(Arc<JwtAuthn>),
    /// A rate limit of this process.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// Logins by an authorization server.
    OAuth2(Arc<OAuth2>),
    /// Rate limits of a service.
    RateLimit(Arc<RateLimit>),
    /// Access rules.
    Rbac(Arc<Rbac>),
    /// Metadata from the configuration.
    SetMetadata(Arc<SetMetadata>),
    /// A proxy-wasm plugin.
    Wasm(Arc<WasmFilter>),
}

impl HttpFilterKind {
    /// What kind it is, in the words of Envoy's extension names.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Router(_) => "router",
            Self::Cors => "cors",
            Self::ApiKeyAuth(_) => "api_key_auth",
            Self::BandwidthLimit(_) => "bandwidth_limit",
            Self::BasicAuth(_) => "basic_auth",
            Self::Compressor(_) => "compressor",
            Self::Buffer(_) => "buffer",
            Self::Csrf(_) => "csrf",
            Self::ExtAuthz(_) => "ext_authz",
            Self::ExtProc(_) => "ext_proc",
            Self::Fault(_) => "fault",
            Self::GrpcWeb => "grpc_web",
            Self::HeaderMutation(_) => "header_mutation",
            Self::HealthCheck(_) => "health_check",
            Self::JwtAuthn(_) => "jwt_authn",
            Self::LocalRateLimit(_) => "local_ratelimit",
            Self::OAuth2(_) => "oauth2",
            Self::RateLimit(_) => "ratelimit",
            Self::Rbac(_) => "rbac",
            Self::SetMetadata(_) => "set_metadata",
            Self::Wasm(_) => "wasm",
        }
    }
}

impl HttpFilterKind {
    /// Names of the secrets that it needs.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let oauth2 = match self {
            Self::OAuth2(oauth2) => Some(oauth2.secrets()),
            _ => None,
        };
        oauth2.into_iter().flatten()
    }
}

/// A proxy-wasm plugin (`envoy.extensions.filters.http.wasm.v3.Wasm`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmFilter {
    /// The plugin's name (`config.name`).
    pub name: Box<str>,
    /// The root context (`config.root_id`).
    pub root_id: Box<str>,
    /// Plugins with the same module and VM id share a VM.
    pub vm_id: Box<str>,
    /// Where the module comes from.
    pub module: WasmModule,
    /// Configuration of the plugin: JSON text from a Struct, the text or bytes of a wrapper, or empty.
    pub configuration: Bytes,
    /// Configuration of the VM, in the same form.
    pub vm_configuration: Bytes,
    /// What happens to requests while the plugin cannot run.
    pub failure_policy: WasmFailurePolicy,
}

/// Where a module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WasmModule {
    /// Fetched and checked.
    Remote {
        /// `http(s)://` or `oci://`.
        uri: Box<str>,
        /// 64 lower-case hexadecimal digits.
        sha256: Box<str>,
        /// Limit of the fetch.
        timeout: Duration,
    },
    /// A file.
    File(Box<str>),
    /// Inside the configuration.
    Inline(Bytes),
}

/// What happens to requests while a plugin cannot run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WasmFailurePolicy {
    /// They are answered 503.
    #[default]
    FailClosed,
    /// They go on without it.
    FailOpen,
    /// The VM starts again; until then they are answered 503.
    FailReload,
}
