// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Logins by an authorization server: who has not logged in is sent there, and comes back with a code that is changed into tokens, which
//! the browser keeps in signed cookies.

mod answers;
mod cookies;
mod crypt;
mod state;
mod token;

use super::awaited::Awaited;
use super::{Counter, Site};
use crate::callout::Callout;
use crate::connection::Connection;
use crate::format::{LiveHeaders, Values, write_text};
use crate::routing::view;
use cookies::Jar;
use gateway_config::{ClientAuth, Format, GenericSecret, HeaderMatcher, OAuth2, SecretKind};
use gateway_filter_api::{FilterContext, HttpFilter, Outcome, Phase, RequestHead};
use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use state::State;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use token::{Grant, Refused, Tokens};

/// Everything but unreserved characters (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

static STATUS: HeaderName = HeaderName::from_static("x-envoy-oauth-status");
static REASON: HeaderName = HeaderName::from_static("x-envoy-oauth-failure-reason");

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The filter in its place on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    config: Arc<OAuth2>,
    counters: Rc<Counters>,
}

/// Its numbers.
#[derive(Debug)]
struct Counters {
    success: Counter,
    failure: Counter,
    unauthorized: Counter,
    passthrough: Counter,
    allow_failed: Counter,
    refresh_success: Counter,
    refresh_failure: Counter,
}

impl Place {
    pub(crate) fn new(config: &Arc<OAuth2>, site: Site<'_>) -> Self {
        let counters = Counters {
            success: site.http("http_oauth_success"),
            failure: site.http("http_oauth_failure"),
            unauthorized: site.http("http_oauth_unauthorized_rq"),
            passthrough: site.http("http_oauth_passthrough"),
            allow_failed: site.http("http_oauth_allow_failed_passthrough"),
            refresh_success: site.http("http_oauth_refreshtoken_success"),
            refresh_failure: site.http("http_oauth_refreshtoken_failure"),
        };
        Self { config: Arc::clone(config), counters: Rc::new(counters) }
    }

    /// The filter of one request.
    pub(crate) fn login(&self, connection: &Rc<Connection>) -> Login {
        Login {
            place: self.clone(),
            connection: Rc::clone(connection),
            jar: Jar::default(),
            waiting: None,
            for_client: Vec::new(),
        }
    }
}

type AwaitedTokens = Awaited<Result<Tokens, Refused>>;

/// Looks after one request.
#[derive(Debug)]
pub(crate) struct Login {
    place: Place,
    connection: Rc<Connection>,
    jar: Jar,
    waiting: Option<(Step, Keys, AwaitedTokens)>,
    /// Cookies that go with the upstream's answer.
    for_client: Vec<HeaderValue>,
}

/// What the token endpoint is asked for.
#[derive(Debug)]
enum Step {
    /// The user has come back.
    Code(State),
    Refresh,
}

/// The secrets of the filter, as they are now.
#[derive(Clone, Debug)]
struct Keys {
    cookies: Arc<GenericSecret>,
    client: Option<Arc<GenericSecret>>,
}

impl Login {
    fn keys(&self) -> Option<Keys> {
        let snapshot = self.connection.worker().snapshot();
        let secret = |name: &str| match &snapshot.secrets.get(name)?.kind {
            SecretKind::Generic(secret) => Some(Arc::clone(secret)),
            _ => None,
        };
        let config = &self.place.config;
        let client = match &config.client_auth {
            ClientAuth::Body(name) | ClientAuth::Basic(name) => Some(secret(name)?),
            ClientAuth::Tls => None,
        };
        Some(Keys { cookies: secret(&config.hmac_secret)?, client })
    }

    /// Puts tokens in place of their encrypted forms. What can not be read stays as it is: its signature is wrong then.
    fn decrypt(&mut self, keys: &Keys) {
        let config = Arc::clone(&self.place.config);
        if config.plain_tokens {
            return;
        }
        for cookie in [&config.cookies.bearer_token, &config.cookies.id_token, &config.cookies.refresh_token]
        {
            let plain =
                self.jar.get(&cookie.name).and_then(|text| crypt::decrypt(keys.cookies.bytes(), text));
            if let Some(plain) = plain {
                self.jar.set(&cookie.name, &plain);
            }
        }
    }

    /// Whether the cookies are those of a user who has logged in.
    fn is_logged_in(&self, keys: &Keys, head: &RequestHead) -> bool {
        let cookies = &self.place.config.cookies;
        let get = |name: &str| self.jar.get(name).unwrap_or_default();
        let expires = get(&cookies.expires.name);
        let parts =
            [get(&cookies.bearer_token.name), get(&cookies.id_token.name), get(&cookies.refresh_token.name)];
        let signed = signed(&self.place.config, head, expires, parts);
        crypt::is_signed(keys.cookies.bytes(), &signed, get(&cookies.hmac.name))
            && expires.parse::<u64>().is_ok_and(|end| end > now())
    }

    /// The request of a user who has logged in goes on.
    fn pass(&mut self, context: &mut FilterContext<'_>) -> Outcome {
        let config = Arc::clone(&self.place.config);
        self.place.counters.success.increment();
        let headers = &mut context.request.headers;
        let bearer = |token: &str| HeaderValue::try_from(format!("Bearer {token}")).ok();
        if config.forward_bearer_token
            && let Some(value) = self.jar.get(&config.cookies.bearer_token.name).and_then(bearer)
        {
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(name) = &config.forward_id_token
            && let Some(token) = self.jar.get(&config.cookies.id_token.name)
        {
            let value =
                if *name == AUTHORIZATION { bearer(token) } else { HeaderValue::try_from(token).ok() };
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        self.jar.remove_flow(&config);
        self.jar.write(headers);
        Outcome::Continue
    }

    /// What becomes of a request without a login, elsewhere than where users come back.
    fn without_login(&mut self, context: &mut FilterContext<'_>, keys: &Keys, reason: &str) -> Outcome {
        let config = Arc::clone(&self.place.config);
        if is_one(&config.allow_failed, context.request) {
            self.place.counters.allow_failed.increment();
            self.jar.remove_tokens(&config);
            self.jar.remove_flow(&config);
            let headers = &mut context.request.headers;
            self.jar.write(headers);
            headers.insert(STATUS.clone(), HeaderValue::from_static("failed"));
            if let Ok(reason) = HeaderValue::from_str(reason) {
                headers.insert(REASON.clone(), reason);
            }
            return Outcome::Continue;
        }
        if is_one(&config.deny_redirect, context.request) {
            return self.unauthorized(None, "oauth_redirect_not_allowed");
        }
        self.send_to_server(context, keys)
    }

    fn ask(&mut self, step: Step, keys: Keys, grant: &Grant<'_>) -> Outcome {
        let config = Arc::clone(&self.place.config);
        let secret = keys.client.as_ref().map(|secret| secret.bytes()).unwrap_or_default();
        let Some(request) = token::request(&config, secret, grant) else {
            return answers::unavailable();
        };
        let callout = Callout::new(self.connection.worker());
        let (waiting, pause) = Awaited::pause(token::ask(callout, config, request));
        self.waiting = Some((step, keys, waiting));
        Outcome::Pause(pause)
    }

    /// A user comes back from the server.
    fn came_back(&mut self, context: &mut FilterContext<'_>, keys: Keys, logged_in: bool) -> Outcome {
        let config = Arc::clone(&self.place.config);
        let query = context.request.path.query().unwrap_or_default().to_owned();
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find_map(|(own, value)| (own == name).then_some(value))
        };
        let state = parameter("state");
        let state = state.and_then(|text| State::read(text, &self.jar, &config, keys.cookies.bytes()));
        let flow = state.as_ref().map(|state| state.flow_id.clone());
        if parameter("error").is_some() {
            return self.unauthorized(flow.as_deref(), "oauth_server_refused");
        }
        let (Some(code), Some(state)) = (parameter("code"), state) else {
            return self.unauthorized(flow.as_deref(), "oauth_state_not_valid");
        };
        let back_here = state
            .url
            .parse::<http::Uri>()
            .is_ok_and(|url| config.redirect_path.is_match(url.path().as_bytes()));
        if back_here || !state::is_allowed(&config, &state.url) {
            return self.unauthorized(flow.as_deref(), "oauth_state_url_not_allowed");
        }
        if logged_in {
            return self.home(&state, Vec::new(), "oauth.race_redirect");
        }
        let verifier = self.jar.of_flow(&config.cookies.code_verifier.name, &state.flow_id);
        let verifier = verifier.and_then(|text| crypt::decrypt(keys.cookies.bytes(), text));
        let Some(verifier) = verifier else {
            return self.unauthorized(flow.as_deref(), "oauth_code_verifier_not_valid");
        };
        let redirect_uri = self.fill(&config.redirect_uri, context);
        let grant = Grant::Code { code, redirect_uri: &redirect_uri, verifier: &verifier };
        self.ask(Step::Code(state), keys, &grant)
    }

    /// The tokens that go into cookies.
    fn kept(&self, tokens: Tokens) -> Tokens {
        let config = &self.place.config;
        let unless = |not: bool, token: String| if not { String::new() } else { token };
        Tokens {
            access: unless(config.no_access_token_cookie, tokens.access),
            id: unless(config.no_id_token_cookie, tokens.id),
            refresh: unless(config.no_refresh_token_cookie || !config.use_refresh_token, tokens.refresh),
            lifetime: tokens.lifetime,
        }
    }

    fn refreshed(&mut self, context: &mut FilterContext<'_>, keys: &Keys, tokens: Tokens) -> Outcome {
        let config = Arc::clone(&self.place.config);
        let mut tokens = self.kept(tokens);
        if tokens.refresh.is_empty() {
            // The one from before is still good.
            tokens.refresh = self.jar.get(&config.cookies.refresh_token.name).unwrap_or_default().to_owned();
        }
        let Some(set) = self.session(keys, context.request, &tokens) else {
            return self.unauthorized(None, "oauth_token_not_usable");
        };
        for (cookie, token) in
            [(&config.cookies.bearer_token, &tokens.access), (&config.cookies.id_token, &tokens.id)]
        {
            if !token.is_empty() {
                self.jar.set(&cookie.name, token);
            }
        }
        self.place.counters.refresh_success.increment();
        self.for_client = set;
        self.pass(context)
    }

    fn fill(&self, format: &Format, context: &FilterContext<'_>) -> String {
        let headers = LiveHeaders { request: context.request, response: None };
        let values = Values {
            headers: Some(&headers),
            route: Some(context.route),
            metadata: Some(context.metadata),
            ..Values::of(context.connection)
        };
        let mut text = Vec::new();
        write_text(&mut text, format, &values, "-");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl HttpFilter for Login {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let config = Arc::clone(&self.place.config);
        for name in [&STATUS, &REASON] {
            context.request.headers.remove(name);
        }
        if is_one(&config.pass_through, context.request) {
            self.place.counters.passthrough.increment();
            return Outcome::Continue;
        }
        let Some(keys) = self.keys() else {
            self.place.counters.failure.increment();
            return answers::unavailable();
        };
        self.jar = Jar::read(&context.request.headers);
        self.decrypt(&keys);
        if !config.preserve_authorization {
            context.request.headers.remove(AUTHORIZATION);
        }
        if let Some(name) = &config.forward_id_token {
            // Nobody but this filter may say it.
            context.request.headers.remove(name);
        }
        let path = context.request.path.path().as_bytes();
        let comes_back = config.redirect_path.is_match(path);
        if config.signout_path.is_match(path) {
            return self.sign_out(context);
        }
        let logged_in = self.is_logged_in(&keys, context.request);
        if comes_back {
            return self.came_back(context, keys, logged_in);
        }
        if logged_in {
            return self.pass(context);
        }
        match self.jar.get(&config.cookies.refresh_token.name).filter(|_| config.use_refresh_token) {
            Some(token) => {
                let token = token.to_owned();
                self.ask(Step::Refresh, keys, &Grant::Refresh(&token))
            }
            None => self.without_login(context, &keys, "no login"),
        }
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, _phase: Phase) -> Outcome {
        let Some((step, keys, waiting)) = self.waiting.take() else { return Outcome::Continue };
        let result = waiting.take();
        if let Some(Err(error)) = &result {
            tracing::debug!(cluster = %self.place.config.token_endpoint.cluster, %error, "no tokens");
        }
        match (step, result.and_then(Result::ok)) {
            (Step::Code(state), Some(tokens)) => {
                let tokens = self.kept(tokens);
                let Some(set) = self.session(&keys, context.request, &tokens) else {
                    return self.unauthorized(Some(&state.flow_id), "oauth_token_not_usable");
                };
                self.place.counters.success.increment();
                self.home(&state, set, "oauth.logged_in")
            }
            (Step::Code(state), None) => self.unauthorized(Some(&state.flow_id), "oauth_no_token"),
            (Step::Refresh, Some(tokens)) => self.refreshed(context, &keys, tokens),
            (Step::Refresh, None) => {
                self.place.counters.refresh_failure.increment();
                self.without_login(context, &keys, "the access token could not be refreshed")
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.for_client.is_empty()
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        if let Some(response) = &mut context.response {
            for cookie in self.for_client.drain(..) {
                response.headers.append(SET_COOKIE, cookie);
            }
        }
        Outcome::Continue
    }
}

/// What the signature of the cookies is over.
fn signed(config: &OAuth2, head: &RequestHead, expires: &str, [access, id, refresh]: [&str; 3]) -> String {
    let domain = config.cookie_domain.as_deref().unwrap_or_else(|| head.authority());
    [domain, expires, access, id, refresh].join("\n")
}

fn is_one(matchers: &[HeaderMatcher], head: &RequestHead) -> bool {
    !matchers.is_empty() && {
        let view = view(head, 0);
        matchers.iter().any(|matcher| matcher.is_match(&view))
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
