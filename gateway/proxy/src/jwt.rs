// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens (RFC 7515, 7519): read, held against claims, checked with keys. The key decides which algorithms count, never the token.

mod signature;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_config::Jwks;
use serde_json::{Map, Value};
use std::time::Duration;

/// What was found out about a token. The texts are those of Envoy, as clients see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    #[error("Jwt is missing")]
    Missing,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    BadFormat,
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    #[error("Jwt header [alg] field is required and must be a string")]
    HeaderAlg,
    #[error("Jwt header [alg] is not supported")]
    UnsupportedAlg,
    #[error("Jwt header [kid] field is not a string")]
    HeaderKid,
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    #[error("Jwt payload [iss] field is not a string")]
    Iss,
    #[error("Jwt payload [sub] field is not a string")]
    Sub,
    #[error("Jwt payload [nbf] field is not an integer")]
    Nbf,
    #[error("Jwt payload [exp] field is not an integer")]
    Exp,
    #[error("Jwt payload [aud] field is not a string or string list")]
    Aud,
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    #[error("Jwt verification fails")]
    Verification,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    #[error("Jwks remote fetch is failed")]
    Fetch,
    #[error("Subject in Jwt is not allowed")]
    Subject,
    #[error("Jwt has no expiration or lives too long")]
    Lifetime,
}

impl JwtError {
    /// The number of the status in Envoy's library, as far as it is part of what users see.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Missing => 1,
            Self::NotYetValid => 2,
            Self::Expired => 3,
            Self::BadFormat => 4,
            Self::HeaderBase64 => 5,
            Self::HeaderJson => 6,
            Self::HeaderAlg => 7,
            Self::UnsupportedAlg => 8,
            Self::HeaderKid => 9,
            Self::PayloadBase64 => 10,
            Self::PayloadJson => 11,
            Self::Iss => 12,
            Self::Sub => 13,
            Self::Nbf => 16,
            Self::Exp => 18,
            Self::Aud => 21,
            Self::SignatureBase64 => 22,
            Self::UnknownIssuer => 24,
            Self::Audience => 25,
            Self::Verification | Self::Subject | Self::Lifetime => 26,
            Self::NoKey | Self::Fetch => 27,
        }
    }
}

/// A token that was read and not yet checked.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) header: Map<String, Value>,
    pub(crate) payload: Map<String, Value>,
    /// The payload as the token has it.
    pub(crate) payload_text: String,
    alg: String,
    kid: Option<String>,
    issuer: Option<String>,
    signed: String,
    signature: Vec<u8>,
}

impl Token {
    /// Reads a token in compact form.
    pub(crate) fn parse(text: &str) -> Result<Self, JwtError> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::BadFormat);
        };
        let header_bytes = URL_SAFE_NO_PAD.decode(header).map_err(|_| JwtError::HeaderBase64)?;
        let header_fields: Map<String, Value> =
            serde_json::from_slice(&header_bytes).map_err(|_| JwtError::HeaderJson)?;
        let alg = header_fields.get("alg").and_then(Value::as_str).ok_or(JwtError::HeaderAlg)?.to_owned();
        // What a token says is critical is not understood here (RFC 7515, 4.1.11).
        if !signature::is_supported(&alg) || header_fields.contains_key("crit") {
            return Err(JwtError::UnsupportedAlg);
        }
        let kid = optional_text(&header_fields, "kid", JwtError::HeaderKid)?;
        let payload_bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| JwtError::PayloadBase64)?;
        let payload_fields: Map<String, Value> =
            serde_json::from_slice(&payload_bytes).map_err(|_| JwtError::PayloadJson)?;
        let issuer = optional_text(&payload_fields, "iss", JwtError::Iss)?;
        let signature_bytes = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::SignatureBase64)?;
        Ok(Self {
            header: header_fields,
            payload: payload_fields,
            payload_text: payload.to_owned(),
            alg,
            kid,
            issuer,
            signed: format!("{header}.{payload}"),
            signature: signature_bytes,
        })
    }

    /// `iss`; empty where it is missing.
    pub(crate) fn issuer(&self) -> &str {
        self.issuer.as_deref().unwrap_or_default()
    }

    /// `sub`.
    pub(crate) fn subject(&self) -> Result<Option<&str>, JwtError> {
        match self.payload.get("sub") {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(JwtError::Sub),
        }
    }

    /// `aud` as a list.
    pub(crate) fn audiences(&self) -> Result<Vec<&str>, JwtError> {
        match self.payload.get("aud") {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(list)) => list.iter().map(|one| one.as_str().ok_or(JwtError::Aud)).collect(),
            Some(_) => Err(JwtError::Aud),
        }
    }

    /// Holds `nbf` and `exp` against the time since 1970; `skew` is how far clocks may differ.
    pub(crate) fn check_time(
        &self,
        now: Duration,
        skew: Duration,
        (required, max_lifetime): (bool, Option<Duration>),
    ) -> Result<(), JwtError> {
        let seconds = |name: &str, error| match self.payload.get(name) {
            None => Ok(None),
            Some(value) => whole(value).map(Some).ok_or(error),
        };
        let (now, skew) = (now.as_secs(), skew.as_secs());
        if seconds("nbf", JwtError::Nbf)?.is_some_and(|nbf| nbf > now.saturating_add(skew)) {
            return Err(JwtError::NotYetValid);
        }
        let exp = seconds("exp", JwtError::Exp)?;
        if exp.is_some_and(|exp| now > exp.saturating_add(skew)) {
            return Err(JwtError::Expired);
        }
        match (exp, max_lifetime) {
            (None, Some(_)) => Err(JwtError::Lifetime),
            (None, None) if required => Err(JwtError::Lifetime),
            (Some(exp), Some(limit)) if exp.saturating_sub(now) > limit.as_secs() => Err(JwtError::Lifetime),
            _ => Ok(()),
        }
    }

    /// Checks the signature: one key has to fit by name, kind and algorithm, and the signature to be made by it.
    pub(crate) fn verify(&self, keys: &Jwks) -> Result<(), JwtError> {
        let mut fits = keys.keys.iter().filter(|key| {
            let name = key.kid.as_deref().is_none_or(|kid| self.kid.as_deref().is_none_or(|own| own == kid));
            name && key.alg.as_deref().is_none_or(|alg| alg == self.alg)
                && signature::fits(&self.alg, &key.material)
        });
        let mut error = JwtError::NoKey;
        fits.find_map(|key| {
            error = JwtError::Verification;
            signature::verify(&self.alg, &key.material, self.signed.as_bytes(), &self.signature).then_some(())
        })
        .ok_or(error)
    }
}

fn optional_text(
    fields: &Map<String, Value>,
    name: &str,
    error: JwtError,
) -> Result<Option<String>, JwtError> {
    match fields.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or(error),
    }
}

/// A time in whole seconds; fractions are cut, negative times are none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked before")]
fn whole(value: &Value) -> Option<u64> {
    let number = || value.as_f64().filter(|number| (0.0..9e15).contains(number)).map(|number| number as u64);
    value.as_u64().or_else(number)
}

#[cfg(test)]
mod tests;
