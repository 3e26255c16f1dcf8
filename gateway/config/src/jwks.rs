// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sets of public keys (RFC 7517, 7518, 8037), read into the numbers that a signature is checked with.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::fmt;

/// The most keys of one set that count.
const MAX_KEYS: usize = 256;

/// A set of keys; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks {
    /// In their order.
    pub keys: Box<[Jwk]>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// Its name; a token that names a key is checked with keys of that name, or of none.
    pub kid: Option<Box<str>>,
    /// The one algorithm that it may be used for.
    pub alg: Option<Box<str>>,
    /// What it is.
    pub material: KeyMaterial,
}

/// What a key is; decides which algorithms can be used at all.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// Modulus and exponent, big-endian.
    Rsa {
        /// Modulus.
        n: Box<[u8]>,
        /// Exponent.
        e: Box<[u8]>,
    },
    /// An uncompressed point (`04 x y`).
    Ec(Curve, Box<[u8]>),
    /// 32 bytes.
    Ed25519(Box<[u8]>),
    /// A secret of both sides.
    Hmac(Box<[u8]>),
}

/// A curve of ECDSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// ES256.
    P256,
    /// ES384.
    P384,
    /// ES512.
    P521,
}

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It is not JSON.
    #[error("is not json")]
    Json(#[source] serde_json::Error),
    /// It has no list of keys.
    #[error("has no list `keys`")]
    NoList,
    /// None of its keys can be used: each is of an unknown kind, malformed, or not for signatures.
    #[error("has no usable key")]
    NoKey,
}

impl fmt::Debug for KeyMaterial {
    /// Leaves secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::Ec(..) => "Ec",
            Self::Ed25519(_) => "Ed25519",
            Self::Hmac(_) => "Hmac",
        })
    }
}

impl Jwks {
    /// Reads a set. Keys that can not be used are left out, as other parties may need them.
    ///
    /// # Errors
    /// Where nothing usable is left.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        let value: Value = serde_json::from_slice(text).map_err(JwksError::Json)?;
        let list = value.get("keys").and_then(Value::as_array).ok_or(JwksError::NoList)?;
        let keys: Box<[Jwk]> = list.iter().filter_map(key).take(MAX_KEYS).collect();
        if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(Self { keys }) }
    }
}

fn key(value: &Value) -> Option<Jwk> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let bytes = |name: &str| decode(text(name)?);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let material = match text("kty")? {
        "RSA" => KeyMaterial::Rsa { n: trimmed(&bytes("n")?), e: trimmed(&bytes("e")?) },
        "EC" => {
            let (curve, size) = match text("crv")? {
                "P-256" => (Curve::P256, 32),
                "P-384" => (Curve::P384, 48),
                "P-521" => (Curve::P521, 66),
                _ => return None,
            };
            let (x, y) = (padded(&bytes("x")?, size)?, padded(&bytes("y")?, size)?);
            KeyMaterial::Ec(curve, [&[4], &*x, &*y].concat().into())
        }
        "OKP" if text("crv")? == "Ed25519" => {
            KeyMaterial::Ed25519(bytes("x").filter(|x| x.len() == 32)?.into())
        }
        "oct" => KeyMaterial::Hmac(bytes("k").filter(|k| !k.is_empty())?.into()),
        _ => return None,
    };
    Some(Jwk {
        kid: text("kid").filter(|kid| !kid.is_empty()).map(Into::into),
        alg: text("alg").filter(|alg| !alg.is_empty()).map(Into::into),
        material,
    })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Without zeros at the front.
fn trimmed(number: &[u8]) -> Box<[u8]> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number[start..].into()
}

/// With zeros at the front up to a size.
fn padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let number = trimmed(number);
    let missing = size.checked_sub(number.len())?;
    Some([&*vec![0; missing], &*number].concat())
}

#[cfg(test)]
mod tests {
    use super::{Curve, Jwks, KeyMaterial};

    #[test]
    fn usable_keys_are_kept() {
        let text = br#"{"keys": [
            {"kty": "RSA", "kid": "a", "alg": "RS256", "n": "AAEC", "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "Ag", "use": "sig"},
            {"kty": "RSA", "use": "enc", "n": "AQ", "e": "AQAB"},
            {"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "Ag"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AQ"},
            {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "RSA", "n": "!", "e": "AQAB"},
            {"kid": "none"}, 3
        ]}"#;
        let keys = Jwks::parse(text).unwrap().keys;
        assert_eq!(keys.len(), 3);
        assert_eq!(keys[0].material, KeyMaterial::Rsa { n: [1, 2].into(), e: [1, 0, 1].into() });
        assert_eq!((keys[0].kid.as_deref(), keys[0].alg.as_deref()), (Some("a"), Some("RS256")));
        assert!(
            matches!(&keys[1].material, KeyMaterial::Ec(Curve::P256, point) if point.len() == 65 && point[32] == 1)
        );
        assert!(!format!("{:?}", keys[2]).contains("secret"));
    }

    #[test]
    fn nothing_usable_is_an_error() {
        for text in ["", "[]", "{}", r#"{"keys": 1}"#, r#"{"keys": []}"#, r#"{"keys": [{"kty": "none"}]}"#] {
            assert!(Jwks::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
