// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Logins by an authorization server (`envoy.extensions.filters.http.oauth2.v3`).

use crate::{Format, HeaderMatcher, HttpService, ServiceRetries, StringMatcher};
use http::HeaderName;
use std::time::Duration;

/// A filter that lets users in who have logged in elsewhere.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct OAuth2 {
    /// Gives tokens for codes.
    pub token_endpoint: HttpService,
    /// How often a call without an answer is tried again.
    pub retries: ServiceRetries,
    /// Where users log in, without query.
    pub authorization_endpoint: Box<str>,
    /// The query that all users get, percent-encoded, in order of its names; what belongs to one login is added.
    pub authorization_query: Box<[(Box<str>, Box<str>)]>,
    /// `&resource=...` for each resource, percent-encoded.
    pub resources: Box<str>,
    /// Where users are sent who log out.
    pub logout: Logout,
    /// The gateway as the server knows it.
    pub client_id: Box<str>,
    /// How the gateway shows who it is.
    pub client_auth: ClientAuth,
    /// Name of the secret that cookies are signed and encrypted with.
    pub hmac_secret: Box<str>,
    /// The cookies.
    pub cookies: OAuthCookies,
    /// Cookies are for this domain; none: for the host of the request.
    pub cookie_domain: Option<Box<str>>,
    /// Where the server sends users back to.
    pub redirect_uri: Format,
    /// Paths of users that come back.
    pub redirect_path: StringMatcher,
    /// Paths that log out.
    pub signout_path: StringMatcher,
    /// The upstream gets the access token as `authorization: Bearer`.
    pub forward_bearer_token: bool,
    /// The upstream gets the ID token in this header.
    pub forward_id_token: Option<HeaderName>,
    /// `authorization` of requests is left alone.
    pub preserve_authorization: bool,
    /// Requests that are not looked at: one of these.
    pub pass_through: Box<[HeaderMatcher]>,
    /// Requests that get 401 rather than a redirect: one of these.
    pub deny_redirect: Box<[HeaderMatcher]>,
    /// Requests that go on without a login: one of these.
    pub allow_failed: Box<[HeaderMatcher]>,
    /// Access tokens are renewed.
    pub use_refresh_token: bool,
    /// How long things are good.
    pub lifetimes: OAuthLifetimes,
    /// No cookie holds the access token.
    pub no_access_token_cookie: bool,
    /// No cookie holds the ID token.
    pub no_id_token_cookie: bool,
    /// No cookie holds the refresh token.
    pub no_refresh_token_cookie: bool,
    /// The cookie of the ID token lasts as long as the access token.
    pub id_token_lasts_as_access_token: bool,
    /// Tokens are put into cookies as they are.
    pub plain_tokens: bool,
    /// The start of the address that a login ends at; none: scheme and host of the request.
    pub original_uri: Option<Format>,
    /// Hosts that users may be sent to, in lower case, perhaps with `*.` before; empty: all.
    pub allowed_domains: Box<[Box<str>]>,
}

/// How long things are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OAuthLifetimes {
    /// An access token that does not say so; zero: such a one is refused.
    pub access_token: Duration,
    /// A refresh token that does not say so.
    pub refresh_token: Duration,
    /// A login that began.
    pub nonce: Duration,
    /// Its code verifier.
    pub code_verifier: Duration,
}

/// Where users are sent who log out.
#[derive(Clone, Debug, PartialEq)]
pub enum Logout {
    /// To `/` of the host.
    Here,
    /// To the authorization server.
    EndSession {
        /// Its endpoint.
        endpoint: Box<str>,
        /// Where it sends them after that.
        after: AfterLogout,
    },
}

/// Where the authorization server sends users who have logged out.
#[derive(Clone, Debug, PartialEq)]
pub enum AfterLogout {
    /// To `/` of the host.
    Here,
    /// It decides itself.
    Unsaid,
    /// Here.
    To(Format),
}

/// How the gateway shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Id and secret in the body; the name of the secret.
    Body(Box<str>),
    /// Id and secret as HTTP Basic; the name of the secret.
    Basic(Box<str>),
    /// By the certificate of the cluster.
    Tls,
}

/// The cookies of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthCookies {
    /// The access token.
    pub bearer_token: OAuthCookie,
    /// The signature over all others.
    pub hmac: OAuthCookie,
    /// When the access token ends, in seconds since 1970.
    pub expires: OAuthCookie,
    /// The ID token.
    pub id_token: OAuthCookie,
    /// The refresh token.
    pub refresh_token: OAuthCookie,
    /// Binds a login to the browser that began it.
    pub nonce: OAuthCookie,
    /// The code verifier of a login (RFC 7636).
    pub code_verifier: OAuthCookie,
}

/// A cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthCookie {
    /// Its name.
    pub name: Box<str>,
    /// Its path.
    pub path: Box<str>,
    /// `;SameSite=...` and `;Partitioned`, where they are wanted.
    pub attributes: Box<str>,
}

impl OAuth2 {
    /// Names of the secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let own = match &self.client_auth {
            ClientAuth::Body(name) | ClientAuth::Basic(name) => Some(&**name),
            ClientAuth::Tls => None,
        };
        own.into_iter().chain(std::iter::once(&*self.hmac_secret))
    }
}
