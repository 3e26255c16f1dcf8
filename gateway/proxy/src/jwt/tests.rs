// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens made with fresh keys, good ones and forged ones.

use super::{JwtError, Token};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_config::Jwks;
use serde_json::{Value, json};
use std::time::Duration;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token whose signature `sign` makes.
fn token(header: &Value, payload: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", b64(header.to_string()), b64(payload.to_string()));
    let signature = b64(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn keys(keys: &[Value]) -> Jwks {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn rsa() -> (RsaKeyPair, Value) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let (n, e) = (
        public.modulus().big_endian_without_leading_zero(),
        public.exponent().big_endian_without_leading_zero(),
    );
    let key = json!({"kty": "RSA", "n": b64(n), "e": b64(e)});
    (pair, key)
}

fn check(token: &str, keys: &Jwks) -> Result<(), JwtError> {
    Token::parse(token)?.verify(keys)
}

#[test]
fn every_algorithm_checks_with_its_own_key_only() {
    let random = SystemRandom::new();
    let (pair, rsa_key) = rsa();
    let rsa_keys = keys(&[rsa_key]);
    let encodings: [(&str, &'static dyn signature::RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    let payload = json!({"sub": "ann"});
    for (alg, encoding) in encodings {
        let good = token(&json!({"alg": alg}), &payload, |signed| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, signed, &mut signature).unwrap();
            signature
        });
        assert_eq!(check(&good, &rsa_keys), Ok(()), "{alg}");
        let (other, key) = rsa();
        drop(other);
        assert_eq!(check(&good, &keys(&[key])), Err(JwtError::Verification), "{alg}");
    }
    for (alg, curve, algorithm, size) in [
        ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, 32),
        ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, 48),
        ("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, 66),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(size);
        let own = keys(&[json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})]);
        let good = token(&json!({"alg": alg}), &payload, |signed| {
            pair.sign(&random, signed).unwrap().as_ref().to_vec()
        });
        assert_eq!(check(&good, &own), Ok(()), "{alg}");
        assert_eq!(check(&good, &rsa_keys), Err(JwtError::NoKey), "{alg}");
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let own = keys(&[json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())})]);
    let good = token(&json!({"alg": "EdDSA"}), &payload, |signed| pair.sign(signed).as_ref().to_vec());
    assert_eq!(check(&good, &own), Ok(()));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let good =
        token(&json!({"alg": "HS256"}), &payload, |signed| hmac::sign(&secret, signed).as_ref().to_vec());
    assert_eq!(check(&good, &keys(&[json!({"kty": "oct", "k": b64("secret")})])), Ok(()));
}

#[test]
fn forgeries_are_refused() {
    let (pair, mut key) = rsa();
    key["kid"] = json!("a");
    let own = keys(std::slice::from_ref(&key));
    let payload = json!({"sub": "ann"});
    let random = SystemRandom::new();
    let sign = |signed: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).unwrap();
        signature
    };
    let good = token(&json!({"alg": "RS256", "kid": "a"}), &payload, sign);
    assert_eq!(check(&good, &own), Ok(()));
    let parts: Vec<&str> = good.split('.').collect();
    let changed = b64(json!({"sub": "bob"}).to_string());
    // The public key as the secret of an HMAC.
    let modulus = hmac::Key::new(hmac::HMAC_SHA256, key["n"].as_str().unwrap().as_bytes());
    for (forged, error) in [
        (token(&json!({"alg": "none"}), &payload, |_| Vec::new()), JwtError::UnsupportedAlg),
        (token(&json!({"alg": "None", "kid": "a"}), &payload, |_| Vec::new()), JwtError::UnsupportedAlg),
        (
            token(&json!({"alg": "HS256", "kid": "a"}), &payload, |signed| {
                hmac::sign(&modulus, signed).as_ref().to_vec()
            }),
            JwtError::NoKey,
        ),
        (token(&json!({"alg": "RS256", "kid": "b"}), &payload, sign), JwtError::NoKey),
        (token(&json!({"alg": "RS384", "kid": "a"}), &payload, sign), JwtError::Verification),
        (
            token(&json!({"alg": "RS256", "kid": "a", "crit": ["exp"]}), &payload, sign),
            JwtError::UnsupportedAlg,
        ),
        (token(&json!({"alg": "RS256", "kid": 1}), &payload, sign), JwtError::HeaderKid),
        (token(&json!({"kid": "a"}), &payload, sign), JwtError::HeaderAlg),
        (format!("{}.{changed}.{}", parts[0], parts[2]), JwtError::Verification),
        (format!("{}.{}.", parts[0], parts[1]), JwtError::Verification),
        (format!("{}.{}.!", parts[0], parts[1]), JwtError::SignatureBase64),
        (format!("{}.!.{}", parts[0], parts[2]), JwtError::PayloadBase64),
        (format!("{}.{}.{}", parts[0], b64("[]"), parts[2]), JwtError::PayloadJson),
        (format!("!.{}.{}", parts[1], parts[2]), JwtError::HeaderBase64),
        (format!("{good}.x"), JwtError::BadFormat),
        ("a.b".to_owned(), JwtError::BadFormat),
        (String::new(), JwtError::BadFormat),
    ] {
        assert_eq!(check(&forged, &own), Err(error), "{forged}");
    }
}

#[test]
fn times_hold_with_skew() {
    let at = |payload: Value, required, max: Option<u64>| {
        let text = token(&json!({"alg": "RS256"}), &payload, |_| Vec::new());
        let limits = (required, max.map(Duration::from_secs));
        Token::parse(&text).unwrap().check_time(Duration::from_secs(1000), Duration::from_secs(10), limits)
    };
    for (payload, required, max, expected) in [
        (json!({}), false, None, Ok(())),
        (json!({}), true, None, Err(JwtError::Lifetime)),
        (json!({"exp": 990}), false, None, Ok(())),
        (json!({"exp": 989}), false, None, Err(JwtError::Expired)),
        (json!({"exp": 989.5}), false, None, Err(JwtError::Expired)),
        (json!({"exp": "soon"}), false, None, Err(JwtError::Exp)),
        (json!({"exp": -1}), false, None, Err(JwtError::Exp)),
        (json!({"nbf": 1010}), false, None, Ok(())),
        (json!({"nbf": 1011}), false, None, Err(JwtError::NotYetValid)),
        (json!({"exp": 1100}), false, Some(100), Ok(())),
        (json!({"exp": 1101}), false, Some(100), Err(JwtError::Lifetime)),
    ] {
        assert_eq!(at(payload.clone(), required, max), expected, "{payload}");
    }
}
