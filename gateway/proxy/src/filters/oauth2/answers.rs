// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The filter's own answers: to the authorization server and back, out, and refusals.

use super::cookies::{delete, set};
use super::state::{State, is_allowed};
use super::token::{self, Tokens};
use super::{Keys, Login, crypt, escaped, now, signed};
use bytes::Bytes;
use gateway_config::{AfterLogout, Logout, OAuthCookie};
use gateway_filter_api::{FilterContext, LocalResponse, Outcome, RequestHead};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use std::sync::Arc;

impl Login {
    /// The user logs in at the server.
    pub(super) fn send_to_server(&mut self, context: &mut FilterContext<'_>, keys: &Keys) -> Outcome {
        let config = Arc::clone(&self.place.config);
        let secret = keys.cookies.bytes();
        let start = match &config.original_uri {
            Some(format) => self.fill(format, context),
            None => format!("{}://{}", context.request.scheme(), context.request.authority()),
        };
        let redirect_uri = self.fill(&config.redirect_uri, context);
        if !is_allowed(&config, &start) || !is_allowed(&config, &redirect_uri) {
            return self.unauthorized(None, "oauth_redirect_host_not_allowed");
        }
        let state = State::new(format!("{start}{}", context.request.path), secret);
        let verifier = crypt::verifier();
        let (Some(encoded), Some(hidden)) = (state.encode(), crypt::encrypt(secret, &verifier)) else {
            return unavailable();
        };
        let mut query: Vec<(&str, String)> =
            config.authorization_query.iter().map(|(name, value)| (&**name, value.to_string())).collect();
        query.extend([
            ("code_challenge", crypt::challenge(&verifier)),
            ("code_challenge_method", "S256".to_owned()),
            ("redirect_uri", escaped(&redirect_uri)),
            ("state", encoded),
        ]);
        query.sort();
        let query: Vec<_> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let location = format!("{}?{}{}", config.authorization_endpoint, query.join("&"), config.resources);

        let mut cookies = Vec::new();
        let (nonce, code_verifier) = (&config.cookies.nonce, &config.cookies.code_verifier);
        for (cookie, value, lifetime) in [
            (nonce, state.csrf_token(), config.lifetimes.nonce),
            (code_verifier, &*hidden, config.lifetimes.code_verifier),
        ] {
            // The second name is that of gateways from before logins had cookies of their own.
            for name in [format!("{}.{}", cookie.name, state.flow_id), cookie.name.to_string()] {
                cookies.push(set(&config, cookie, &name, value, lifetime.as_secs()));
            }
        }
        self.place.counters.unauthorized.increment();
        redirect(&location, cookies, "oauth.missing_credentials")
    }

    /// Cookies of a user who has logged in; none where a token is not fit for one.
    pub(super) fn session(
        &self,
        keys: &Keys,
        head: &RequestHead,
        tokens: &Tokens,
    ) -> Option<Vec<HeaderValue>> {
        let config = &self.place.config;
        let secret = keys.cookies.bytes();
        let lifetime = tokens.lifetime.as_secs();
        let now = now();
        let end = now.saturating_add(lifetime).to_string();
        let left = |token: &str| token::end(token).map(|end| end.saturating_sub(now));
        let id_lifetime = if config.id_token_lasts_as_access_token { None } else { left(&tokens.id) };
        let refresh_lifetime =
            left(&tokens.refresh).unwrap_or_else(|| config.lifetimes.refresh_token.as_secs());
        let parts = [&*tokens.access, &*tokens.id, &*tokens.refresh];
        if parts.iter().any(|token| !token.bytes().all(is_token_byte)) {
            return None;
        }
        let signature = crypt::sign(secret, &signed(config, head, &end, parts));
        let cookies = &config.cookies;
        let mut lines = vec![
            set(config, &cookies.hmac, &cookies.hmac.name, &signature, lifetime),
            set(config, &cookies.expires, &cookies.expires.name, &end, lifetime),
        ];
        for (cookie, token, lifetime) in [
            (&cookies.bearer_token, parts[0], lifetime),
            (&cookies.id_token, parts[1], id_lifetime.unwrap_or(lifetime)),
            (&cookies.refresh_token, parts[2], refresh_lifetime),
        ] {
            if !token.is_empty() {
                let value = match config.plain_tokens {
                    true => token.to_owned(),
                    false => crypt::encrypt(secret, token)?,
                };
                lines.push(set(config, cookie, &cookie.name, &value, lifetime));
            } else if self.jar.has(&cookie.name) {
                lines.push(delete(config, cookie, &cookie.name));
            }
        }
        lines.into_iter().map(|line| HeaderValue::try_from(line).ok()).collect()
    }

    /// Back to where the user wanted to go; the login is over.
    pub(super) fn home(&self, state: &State, set: Vec<HeaderValue>, details: &'static str) -> Outcome {
        let mut answer = LocalResponse::new(StatusCode::FOUND, details);
        let Ok(location) = HeaderValue::from_str(&state.url) else {
            return self.unauthorized(Some(&state.flow_id), "oauth_state_url_not_allowed");
        };
        answer.headers.insert(LOCATION, location);
        for cookie in set {
            answer.headers.append(SET_COOKIE, cookie);
        }
        self.end_flow(&mut answer, &state.flow_id);
        Outcome::Respond(Box::new(answer))
    }

    pub(super) fn sign_out(&self, context: &FilterContext<'_>) -> Outcome {
        let config = &self.place.config;
        let cookies = &config.cookies;
        let session = [
            &cookies.hmac,
            &cookies.bearer_token,
            &cookies.id_token,
            &cookies.refresh_token,
            &cookies.expires,
        ];
        let mut lines: Vec<_> = session.iter().map(|cookie| delete(config, cookie, &cookie.name)).collect();
        for cookie in [&cookies.nonce, &cookies.code_verifier] {
            lines.extend(self.jar.flow_names(&cookie.name).map(|name| delete(config, cookie, name)));
        }
        let here = format!("{}://{}/", context.request.scheme(), context.request.authority());
        let location = match &config.logout {
            Logout::Here => here,
            Logout::EndSession { endpoint, after } => {
                let token = self.jar.get(&cookies.id_token.name).unwrap_or_default();
                let after = match after {
                    AfterLogout::Here => Some(here),
                    AfterLogout::Unsaid => None,
                    AfterLogout::To(format) => Some(self.fill(format, context)),
                };
                let after = after.map(|after| format!("&post_logout_redirect_uri={}", escaped(&after)));
                let (token, id) = (escaped(token), escaped(&config.client_id));
                format!("{endpoint}?id_token_hint={token}&client_id={id}{}", after.unwrap_or_default())
            }
        };
        redirect(&location, lines, "oauth.sign_out")
    }

    /// 401; a login that was under way is over.
    pub(super) fn unauthorized(&self, flow_id: Option<&str>, details: &'static str) -> Outcome {
        self.place.counters.failure.increment();
        let mut answer = LocalResponse {
            body: Bytes::from_static(b"OAuth flow failed."),
            ..LocalResponse::new(StatusCode::UNAUTHORIZED, details)
        };
        if let Some(flow_id) = flow_id {
            self.end_flow(&mut answer, flow_id);
        }
        Outcome::Respond(Box::new(answer))
    }

    fn end_flow(&self, answer: &mut LocalResponse, flow_id: &str) {
        let config = &self.place.config;
        let end = |cookie: &OAuthCookie| {
            let own = (!flow_id.is_empty()).then(|| format!("{}.{flow_id}", cookie.name));
            own.into_iter()
                .chain([cookie.name.to_string()])
                .map(|name| delete(config, cookie, &name))
                .collect()
        };
        let lines: [Vec<String>; 2] = [&config.cookies.nonce, &config.cookies.code_verifier].map(end);
        append(answer, lines.into_iter().flatten());
    }
}

/// 503: a secret is not there.
pub(super) fn unavailable() -> Outcome {
    Outcome::Respond(Box::new(LocalResponse {
        body: Bytes::from_static(b"Service Unavailable"),
        ..LocalResponse::new(StatusCode::SERVICE_UNAVAILABLE, "oauth_secrets_not_ready")
    }))
}

fn redirect(location: &str, cookies: Vec<String>, details: &'static str) -> Outcome {
    let mut answer = LocalResponse::new(StatusCode::FOUND, details);
    match HeaderValue::from_str(location) {
        Ok(location) => answer.headers.insert(LOCATION, location),
        Err(_) => return Outcome::Respond(Box::new(LocalResponse::new(StatusCode::BAD_REQUEST, details))),
    };
    append(&mut answer, cookies);
    Outcome::Respond(Box::new(answer))
}

fn append(answer: &mut LocalResponse, cookies: impl IntoIterator<Item = String>) {
    for cookie in cookies.into_iter().filter_map(|cookie| HeaderValue::try_from(cookie).ok()) {
        answer.headers.append(SET_COOKIE, cookie);
    }
}

/// What may stand in a cookie's value and in `authorization` (RFC 6265, 4.1.1).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}
