// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whether the tokens of a request are what it needs.

use super::Keys;
use super::extract::{At, Found};
use crate::callout::Callout;
use crate::jwt::{JwtError, Token};
use gateway_config::{JwtAllowance, JwtAuthn, JwtRequirement, audience};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

/// What came out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) result: Result<(), JwtError>,
    /// Good tokens.
    pub(super) accepted: Vec<Accepted>,
    pub(super) failures: Vec<Failure>,
}

/// A good token.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) provider: usize,
    pub(super) token: Token,
    pub(super) at: At,
}

/// A provider without a good token.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) provider: usize,
    pub(super) error: JwtError,
}

/// Checks the tokens that were found against a requirement.
pub(super) async fn check(
    config: &JwtAuthn,
    keys: &[Keys],
    callout: &Callout,
    requirement: &JwtRequirement,
    found: &[Found],
) -> Report {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut checker =
        Checker { config, keys, callout, found, now, accepted: Vec::new(), failures: Vec::new() };
    let result = checker.requirement(requirement).await;
    Report { result, accepted: checker.accepted, failures: checker.failures }
}

struct Checker<'a> {
    config: &'a JwtAuthn,
    keys: &'a [Keys],
    callout: &'a Callout,
    found: &'a [Found],
    now: Duration,
    accepted: Vec<Accepted>,
    failures: Vec<Failure>,
}

impl<'a> Checker<'a> {
    fn requirement<'s>(
        &'s mut self,
        requirement: &'s JwtRequirement,
    ) -> Pin<Box<dyn Future<Output = Result<(), JwtError>> + 's>> {
        Box::pin(async move {
            match requirement {
                JwtRequirement::Provider { provider, audiences } => {
                    let result = self.provider(*provider, audiences.as_deref()).await;
                    if let Err(error) = result {
                        self.failures.push(Failure { provider: *provider, error });
                    }
                    result
                }
                JwtRequirement::All(all) => {
                    for one in all {
                        self.requirement(one).await?;
                    }
                    Ok(())
                }
                JwtRequirement::Any { of, otherwise } => {
                    let mut worst = JwtError::Missing;
                    for one in of {
                        let before = self.accepted.len();
                        let Err(error) = self.requirement(one).await else { return Ok(()) };
                        self.accepted.truncate(before);
                        worst = telling(worst, error);
                    }
                    allow(*otherwise, worst)
                }
                JwtRequirement::Allow(allowance) => {
                    let result = self.any_provider(*allowance).await;
                    result.or_else(|error| allow(Some(*allowance), error))
                }
            }
        })
    }

    /// All tokens that are where a provider's are must be good ones of it: the upstream may look at any of them. The last one is looked at
    /// first, as in Envoy.
    async fn provider(&mut self, provider: usize, audiences: Option<&[Box<str>]>) -> Result<(), JwtError> {
        let found = self.found;
        let mut result = Err(JwtError::Missing);
        for one in found.iter().rev().filter(|one| one.provider == provider) {
            let token = Token::parse(&one.token)?;
            let issuer = &*self.provider_at(provider)?.issuer;
            if !issuer.is_empty() && issuer != token.issuer() {
                return Err(JwtError::UnknownIssuer);
            }
            self.token(provider, audiences, token, one).await?;
            result = Ok(());
        }
        result
    }

    /// Tokens of whom they say they are from; a token may be found for several providers.
    async fn any_provider(&mut self, allowance: JwtAllowance) -> Result<(), JwtError> {
        let found = self.found;
        let mut result = Err(JwtError::Missing);
        let mut seen: Vec<(&str, &At)> = Vec::new();
        for one in found {
            if seen.contains(&(&*one.token, &one.at)) {
                continue;
            }
            seen.push((&one.token, &one.at));
            match self.of_its_issuer(one).await {
                Ok(()) if result == Err(JwtError::Missing) => result = Ok(()),
                Ok(()) => {}
                Err(error) if allowance == JwtAllowance::MissingOrFailed => result = Err(error),
                Err(error) => return Err(error),
            }
        }
        result
    }

    async fn of_its_issuer(&mut self, one: &Found) -> Result<(), JwtError> {
        let token = Token::parse(&one.token)?;
        let known = |issuer: &str| self.config.providers.iter().any(|provider| &*provider.issuer == issuer);
        // A provider without an issuer stands for the tokens of all others.
        let issuer = if known(token.issuer()) { token.issuer() } else { "" };
        let same = self.found.iter().filter(|other| other.token == one.token && other.at == one.at);
        let provider = same
            .map(|other| other.provider)
            .find(|at| self.config.providers.get(*at).is_some_and(|provider| &*provider.issuer == issuer));
        let Some(provider) = provider else { return Err(JwtError::UnknownIssuer) };
        let result = self.token(provider, None, token, one).await;
        if let Err(error) = result {
            self.failures.push(Failure { provider, error });
        }
        result
    }

    fn provider_at(&self, provider: usize) -> Result<&'a gateway_config::JwtProvider, JwtError> {
        self.config.providers.get(provider).map(|provider| &**provider).ok_or(JwtError::UnknownIssuer)
    }

    /// One token against one provider.
    async fn token(
        &mut self,
        provider: usize,
        audiences: Option<&[Box<str>]>,
        token: Token,
        one: &Found,
    ) -> Result<(), JwtError> {
        let settings = self.provider_at(provider)?;
        token.check_time(
            self.now,
            settings.clock_skew,
            (settings.require_expiration, settings.max_lifetime),
        )?;
        if let Some(subjects) = &settings.subjects
            && !token.subject()?.is_some_and(|subject| subjects.is_match(subject.as_bytes()))
        {
            return Err(JwtError::Subject);
        }
        let wanted = audiences.unwrap_or(&settings.audiences);
        let own = token.audiences()?;
        if !wanted.is_empty() && !own.iter().any(|own| wanted.iter().any(|wanted| &**wanted == audience(own)))
        {
            return Err(JwtError::Audience);
        }
        match self.keys.get(provider).ok_or(JwtError::Fetch)? {
            Keys::Local(keys) => token.verify(keys)?,
            Keys::Remote(keys) => token.verify(&*keys.keys(self.callout).await?)?,
        }
        self.accepted.push(Accepted { provider, token, at: one.at.clone() });
        Ok(())
    }
}

/// Which of two errors says more.
fn telling(one: JwtError, other: JwtError) -> JwtError {
    let rank = |error| match error {
        JwtError::Missing => 0,
        JwtError::UnknownIssuer => 1,
        _ => 2,
    };
    if rank(other) >= rank(one) { other } else { one }
}

fn allow(allowance: Option<JwtAllowance>, error: JwtError) -> Result<(), JwtError> {
    match (allowance, error) {
        (Some(JwtAllowance::MissingOrFailed), _) | (Some(JwtAllowance::Missing), JwtError::Missing) => Ok(()),
        _ => Err(error),
    }
}
