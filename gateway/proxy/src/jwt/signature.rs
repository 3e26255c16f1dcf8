// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Signatures of tokens (RFC 7518, 3; RFC 8037), by aws-lc. An algorithm works with keys of its own kind only.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use gateway_config::{Curve, KeyMaterial};

/// An algorithm with what it needs.
enum Algorithm {
    Rsa(&'static RsaParameters),
    Ec(Curve, &'static dyn VerificationAlgorithm),
    Ed25519,
    Hmac(hmac::Algorithm),
}

/// `none` is no algorithm.
fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Algorithm::Rsa(&RSA_PSS_2048_8192_SHA256),
        "PS384" => Algorithm::Rsa(&RSA_PSS_2048_8192_SHA384),
        "PS512" => Algorithm::Rsa(&RSA_PSS_2048_8192_SHA512),
        "ES256" => Algorithm::Ec(Curve::P256, &ECDSA_P256_SHA256_FIXED),
        "ES384" => Algorithm::Ec(Curve::P384, &ECDSA_P384_SHA384_FIXED),
        "ES512" => Algorithm::Ec(Curve::P521, &ECDSA_P521_SHA512_FIXED),
        "EdDSA" => Algorithm::Ed25519,
        "HS256" => Algorithm::Hmac(hmac::HMAC_SHA256),
        "HS384" => Algorithm::Hmac(hmac::HMAC_SHA384),
        "HS512" => Algorithm::Hmac(hmac::HMAC_SHA512),
        _ => return None,
    })
}

/// Whether tokens may use an algorithm at all.
pub(super) fn is_supported(name: &str) -> bool {
    algorithm(name).is_some()
}

/// Whether a key is of the kind that an algorithm needs. A public key is never taken for the secret of an HMAC.
pub(super) fn fits(name: &str, key: &KeyMaterial) -> bool {
    match (algorithm(name), key) {
        (Some(Algorithm::Ec(wanted, _)), KeyMaterial::Ec(curve, _)) => wanted == *curve,
        (Some(Algorithm::Rsa(_)), KeyMaterial::Rsa { .. })
        | (Some(Algorithm::Ed25519), KeyMaterial::Ed25519(_))
        | (Some(Algorithm::Hmac(_)), KeyMaterial::Hmac(_)) => true,
        _ => false,
    }
}

/// Whether `signature` over `message` was made with a key.
pub(super) fn verify(name: &str, key: &KeyMaterial, message: &[u8], signature: &[u8]) -> bool {
    match (algorithm(name), key) {
        (Some(Algorithm::Rsa(parameters)), KeyMaterial::Rsa { n, e }) => {
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        (Some(Algorithm::Ec(wanted, algorithm)), KeyMaterial::Ec(curve, point)) if wanted == *curve => {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        }
        (Some(Algorithm::Ed25519), KeyMaterial::Ed25519(point)) => {
            UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
        }
        (Some(Algorithm::Hmac(algorithm)), KeyMaterial::Hmac(secret)) => {
            hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
        }
        _ => false,
    }
}
