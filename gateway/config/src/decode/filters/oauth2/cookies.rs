// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Names and attributes of the cookies of a login.

use super::is_attribute;
use crate::decode::{Fault, Scope};
use crate::filters::{OAuthCookie, OAuthCookies};
use gateway_xds_api::pb::envoy::extensions::filters::http::oauth2::v3::{
    CookieConfig, CookieConfigs, cookie_config::SameSite, o_auth2_credentials::CookieNames,
};
use http::HeaderName;

/// The cookies.
pub(super) fn cookies(
    scope: &Scope,
    names: CookieNames,
    configs: CookieConfigs,
) -> Result<OAuthCookies, Fault> {
    let CookieNames {
        bearer_token,
        oauth_hmac,
        oauth_expires,
        id_token,
        refresh_token,
        oauth_nonce,
        code_verifier,
    } = names;
    let CookieConfigs {
        bearer_token_cookie_config,
        oauth_hmac_cookie_config,
        oauth_expires_cookie_config,
        id_token_cookie_config,
        refresh_token_cookie_config,
        oauth_nonce_cookie_config,
        code_verifier_cookie_config,
    } = configs;
    let one = |field: &str, name: String, default: &str, config: Option<CookieConfig>| {
        let name = if name.is_empty() { default.to_owned() } else { name };
        // A cookie's name has the same characters as that of a header (RFC 6265, 4.1.1).
        if HeaderName::try_from(&name).is_err() {
            let field = format!("credentials.cookie_names.{field}");
            return Err(scope.field_fault(&field, "is not the name of a cookie"));
        }
        cookie(scope, name, config.unwrap_or_default())
    };
    Ok(OAuthCookies {
        bearer_token: one("bearer_token", bearer_token, "BearerToken", bearer_token_cookie_config)?,
        hmac: one("oauth_hmac", oauth_hmac, "OauthHMAC", oauth_hmac_cookie_config)?,
        expires: one("oauth_expires", oauth_expires, "OauthExpires", oauth_expires_cookie_config)?,
        id_token: one("id_token", id_token, "IdToken", id_token_cookie_config)?,
        refresh_token: one("refresh_token", refresh_token, "RefreshToken", refresh_token_cookie_config)?,
        nonce: one("oauth_nonce", oauth_nonce, "OauthNonce", oauth_nonce_cookie_config)?,
        code_verifier: one("code_verifier", code_verifier, "OauthCodeVerifier", code_verifier_cookie_config)?,
    })
}

fn cookie(scope: &Scope, name: String, config: CookieConfig) -> Result<OAuthCookie, Fault> {
    let CookieConfig { same_site, path, partitioned } = config;
    let path = if path.is_empty() { "/".to_owned() } else { path };
    if !path.starts_with('/') || !is_attribute(&path) {
        return Err(scope.field_fault("cookie_configs", format_args!("the path of {name} is not a path")));
    }
    let mut attributes = match SameSite::try_from(same_site) {
        Ok(SameSite::Disabled) => "",
        Ok(SameSite::Strict) => ";SameSite=Strict",
        Ok(SameSite::Lax) => ";SameSite=Lax",
        Ok(SameSite::None) => ";SameSite=None",
        Err(_) => {
            return Err(scope.field_fault("cookie_configs", format_args!("same_site of {name} is not known")));
        }
    }
    .to_owned();
    if partitioned {
        attributes.push_str(";Partitioned");
    }
    Ok(OAuthCookie { name: name.into(), path: path.into(), attributes: attributes.into() })
}
