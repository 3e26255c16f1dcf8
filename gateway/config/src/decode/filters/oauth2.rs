// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the OAuth2 filter.

mod cookies;

use crate::decode::format::format;
use crate::decode::route_match::header_matcher;
use crate::decode::services::{http_service, retries};
use crate::decode::strings::string_matcher;
use crate::decode::tls::sds_name;
use crate::decode::{Fault, Scope, fields, truth};
use crate::filters::{AfterLogout, ClientAuth, Logout, OAuth2, OAuthLifetimes};
use crate::{SecretSource, ServiceRetries, StringMatcher};
use gateway_xds_api::pb::envoy::extensions::filters::http::oauth2::v3::{
    self as pb, o_auth2_config::AuthType, o_auth2_credentials::TokenFormation, post_logout_redirect_uri,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::SdsSecretConfig;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything but unreserved characters (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Envoy's defaults.
const LOGIN: Duration = Duration::from_secs(600);
const REFRESH: Duration = Duration::from_secs(604_800);

/// The filter's settings in its listener.
pub(crate) fn oauth2(scope: &mut Scope, any: &Any) -> Result<OAuth2, Fault> {
    let pb::OAuth2 { config } = unpack(any).map_err(|error| scope.fault(error))?;
    let message = scope.required("config", config)?;
    scope.at("config", |scope| settings(scope, message))
}

#[allow(clippy::too_many_lines, reason = "the list of fields is long")]
fn settings(scope: &mut Scope, message: pb::OAuth2Config) -> Result<OAuth2, Fault> {
    fields!(scope, message => pb::OAuth2Config {
        use {
            token_endpoint, retry_policy, authorization_endpoint, end_session_endpoint, post_logout_redirect_uri, credentials, redirect_uri,
            redirect_path_matcher, signout_path, forward_bearer_token, forward_id_token, preserve_authorization_header,
            pass_through_matcher, auth_scopes, resources, auth_type, use_refresh_token, default_expires_in, deny_redirect_matcher,
            default_refresh_token_expires_in, disable_id_token_set_cookie, disable_access_token_set_cookie,
            disable_refresh_token_set_cookie, cookie_configs, csrf_token_expires_in, code_verifier_token_expires_in,
            disable_token_encryption, allow_failed_matcher, original_request_uri, allowed_redirect_domains,
            use_access_token_expiry_for_id_token_cookie,
        }
        warn { private_key_jwt_config }
        quiet { stat_prefix }
    });
    let token_endpoint = scope.required("token_endpoint", token_endpoint)?;
    let credentials = scope.required("credentials", credentials)?;
    let (names, credentials) = (credentials.cookie_names.clone().unwrap_or_default(), credentials);
    let cookies = cookies::cookies(scope, names, cookie_configs.unwrap_or_default())?;
    let client_id = credentials.client_id;
    if client_id.is_empty() {
        return Err(scope.field_fault("credentials.client_id", "is empty"));
    }
    let lifetimes = OAuthLifetimes {
        access_token: scope.duration("default_expires_in", default_expires_in)?.unwrap_or_default(),
        refresh_token: scope
            .duration("default_refresh_token_expires_in", default_refresh_token_expires_in)?
            .unwrap_or(REFRESH),
        nonce: scope.duration("csrf_token_expires_in", csrf_token_expires_in)?.unwrap_or(LOGIN),
        code_verifier: scope
            .duration("code_verifier_token_expires_in", code_verifier_token_expires_in)?
            .unwrap_or(LOGIN),
    };
    let (authorization_endpoint, given) = endpoint(scope, &authorization_endpoint)?;
    let logout = logout(scope, end_session_endpoint, post_logout_redirect_uri, &auth_scopes)?;
    let forward_id_token = forward_id_token
        .map(|forwarding| {
            id_token_header(scope, &forwarding, forward_bearer_token || preserve_authorization_header)
        })
        .transpose()?;
    if forward_bearer_token && preserve_authorization_header {
        return Err(
            scope.field_fault("preserve_authorization_header", "cannot stand beside forward_bearer_token")
        );
    }
    let mut matchers = |field: &str, list| scope.each(field, list, header_matcher).map(Into::into);
    let pass_through = matchers("pass_through_matcher", pass_through_matcher)?;
    let deny_redirect = matchers("deny_redirect_matcher", deny_redirect_matcher)?;
    let allow_failed = matchers("allow_failed_matcher", allow_failed_matcher)?;
    let original_uri = Some(original_request_uri).filter(|text| !text.is_empty());
    Ok(OAuth2 {
        token_endpoint: scope.at("token_endpoint", |scope| http_service(scope, token_endpoint))?,
        retries: match retry_policy {
            None => ServiceRetries::default(),
            Some(policy) => scope.at("retry_policy", |scope| retries(scope, policy))?,
        },
        authorization_endpoint,
        authorization_query: query(given, &client_id, &auth_scopes),
        resources: resources.iter().map(|resource| format!("&resource={}", escaped(resource))).collect(),
        logout,
        client_auth: client_auth(scope, auth_type, credentials.token_secret)?,
        hmac_secret: match scope.required("credentials.hmac_secret", credentials.token_formation)? {
            TokenFormation::HmacSecret(source) => secret(scope, "credentials.hmac_secret", source)?,
        },
        client_id: client_id.into(),
        cookies,
        cookie_domain: domain(scope, credentials.cookie_domain)?,
        redirect_uri: match redirect_uri.is_empty() {
            true => return Err(scope.field_fault("redirect_uri", "is empty")),
            false => format(scope, "redirect_uri", &redirect_uri)?,
        },
        redirect_path: path(scope, "redirect_path_matcher", redirect_path_matcher)?,
        signout_path: path(scope, "signout_path", signout_path)?,
        forward_bearer_token,
        forward_id_token,
        preserve_authorization: preserve_authorization_header,
        pass_through,
        deny_redirect,
        allow_failed,
        use_refresh_token: truth(use_refresh_token, true),
        lifetimes,
        no_access_token_cookie: disable_access_token_set_cookie,
        no_id_token_cookie: disable_id_token_set_cookie,
        no_refresh_token_cookie: disable_refresh_token_set_cookie,
        id_token_lasts_as_access_token: use_access_token_expiry_for_id_token_cookie,
        plain_tokens: disable_token_encryption,
        original_uri: original_uri.map(|text| format(scope, "original_request_uri", &text)).transpose()?,
        allowed_domains: allowed_redirect_domains
            .into_iter()
            .map(|domain| domain.to_ascii_lowercase().into())
            .collect(),
    })
}

/// A query's pairs.
type Pairs = Vec<(String, String)>;

/// An address without its query, and the query.
fn endpoint(scope: &Scope, text: &str) -> Result<(Box<str>, Pairs), Fault> {
    let usable = text
        .parse::<Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some());
    if !usable {
        return Err(
            scope.field_fault("authorization_endpoint", "must be http://host/path or https://host/path")
        );
    }
    let (bare, query) = text.split_once('?').unwrap_or((text, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    Ok((bare.into(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

fn query(given: Pairs, client_id: &str, scopes: &[String]) -> Box<[(Box<str>, Box<str>)]> {
    let mut all: BTreeMap<String, String> = given.into_iter().collect();
    let scopes = if scopes.is_empty() { "user".to_owned() } else { scopes.join(" ") };
    all.insert("client_id".to_owned(), escaped(client_id));
    all.insert("response_type".to_owned(), "code".to_owned());
    all.insert("scope".to_owned(), escaped(&scopes));
    all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn logout(
    scope: &mut Scope,
    endpoint: String,
    after: Option<pb::PostLogoutRedirectUri>,
    scopes: &[String],
) -> Result<Logout, Fault> {
    if endpoint.is_empty() {
        scope.unused("post_logout_redirect_uri", &after);
        return Ok(Logout::Here);
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        return Err(scope.field_fault("end_session_endpoint", "needs openid in auth_scopes"));
    }
    let after = match after.and_then(|after| after.config) {
        None => AfterLogout::Here,
        Some(post_logout_redirect_uri::Config::Disabled(_)) => AfterLogout::Unsaid,
        Some(post_logout_redirect_uri::Config::Uri(text)) => {
            AfterLogout::To(format(scope, "post_logout_redirect_uri.uri", &text)?)
        }
    };
    Ok(Logout::EndSession { endpoint: endpoint.into(), after })
}

fn id_token_header(
    scope: &Scope,
    forwarding: &pb::OAuth2TokenForwarding,
    authorization_taken: bool,
) -> Result<HeaderName, Fault> {
    let name = HeaderName::try_from(&forwarding.header).ok().filter(|name| name != HOST);
    let name =
        name.ok_or_else(|| scope.field_fault("forward_id_token.header", "is not the name of a header"))?;
    if name == AUTHORIZATION && authorization_taken {
        let message = "cannot be authorization beside forward_bearer_token or preserve_authorization_header";
        return Err(scope.field_fault("forward_id_token.header", message));
    }
    Ok(name)
}

fn client_auth(scope: &mut Scope, kind: i32, source: Option<SdsSecretConfig>) -> Result<ClientAuth, Fault> {
    let kind = AuthType::try_from(kind).map_err(|_| scope.field_fault("auth_type", "is not known"))?;
    let mut named = |source| {
        let source = scope.required("credentials.token_secret", source)?;
        secret(scope, "credentials.token_secret", source)
    };
    Ok(match kind {
        AuthType::UrlEncodedBody => ClientAuth::Body(named(source)?),
        AuthType::BasicAuth => ClientAuth::Basic(named(source)?),
        AuthType::TlsClientAuth => ClientAuth::Tls,
        AuthType::PrivateKeyJwt => {
            return Err(scope.field_fault("auth_type", "PRIVATE_KEY_JWT is not supported"));
        }
    })
}

fn domain(scope: &Scope, domain: String) -> Result<Option<Box<str>>, Fault> {
    match domain {
        domain if domain.is_empty() => Ok(None),
        domain if is_attribute(&domain) => Ok(Some(domain.into())),
        _ => Err(scope.field_fault("credentials.cookie_domain", "is not a domain")),
    }
}

fn secret(scope: &mut Scope, field: &str, source: SdsSecretConfig) -> Result<Box<str>, Fault> {
    match scope.at(field, |scope| sds_name(scope, source))? {
        SecretSource::Named(name) => Ok(name),
        SecretSource::Inline(_) => Err(scope.field_fault(field, "must be the name of a secret")),
    }
}

fn path(scope: &mut Scope, field: &str, matcher: Option<PathMatcher>) -> Result<StringMatcher, Fault> {
    let PathMatcher { rule } = scope.required(field, matcher)?;
    scope.at(field, |scope| match scope.required("rule", rule)? {
        path_matcher::Rule::Path(matcher) => scope.at("path", |scope| string_matcher(scope, matcher)),
    })
}

/// Whether a text may stand as the value of a cookie's attribute.
fn is_attribute(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;<>\\".contains(&byte))
}
