// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Signatures and encryption of cookies, in the forms that Envoy reads and writes.

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Bytes of a block, and of an initialisation vector.
const BLOCK: usize = 16;

/// HMAC-SHA-256 in base64.
pub(super) fn sign(secret: &[u8], message: &str) -> String {
    STANDARD.encode(tag(secret, message))
}

/// Whether a signature is right; the older form, of hexadecimal digits, counts as well.
pub(super) fn is_signed(secret: &[u8], message: &str, signature: &str) -> bool {
    let tag = tag(secret, message);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    is_same(&STANDARD.encode(tag), signature) || is_same(&STANDARD.encode(digits), signature)
}

fn tag(secret: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes())
}

/// Compares without telling by time where the difference is.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

/// AES-256-CBC under the secret's digest: vector and text in base64url.
pub(super) fn encrypt(secret: &[u8], text: &str) -> Option<String> {
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key(secret)?).ok()?;
    let mut bytes = text.as_bytes().to_vec();
    let DecryptionContext::Iv128(vector) = key.encrypt(&mut bytes).ok()? else { return None };
    let mut all = AsRef::<[u8; BLOCK]>::as_ref(&vector).to_vec();
    all.extend_from_slice(&bytes);
    Some(URL_SAFE_NO_PAD.encode(all))
}

/// The text; none where it was not encrypted under this secret, or is not fit for a header.
pub(super) fn decrypt(secret: &[u8], text: &str) -> Option<String> {
    let mut all = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (vector, bytes) = all.split_at_mut_checked(BLOCK)?;
    if bytes.is_empty() {
        return None;
    }
    let vector: [u8; BLOCK] = (&*vector).try_into().ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key(secret)?).ok()?;
    let plain = key.decrypt(bytes, DecryptionContext::Iv128(FixedLength::from(vector))).ok()?;
    let plain = std::str::from_utf8(plain).ok()?;
    plain.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ').then(|| plain.to_owned())
}

fn key(secret: &[u8]) -> Option<UnboundCipherKey> {
    UnboundCipherKey::new(&AES_256, digest::digest(&digest::SHA256, secret).as_ref()).ok()
}

/// What the server is shown of a code verifier (RFC 7636, 4.2).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

/// A code verifier of 32 random bytes.
pub(super) fn verifier() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::{challenge, decrypt, encrypt, is_signed, sign};

    #[test]
    fn what_is_encrypted_comes_back_under_the_same_secret_alone() {
        for text in ["", "a", "0123456789abcdef", &"t".repeat(5000)] {
            let hidden = encrypt(b"secret", text).unwrap();
            assert!(text.len() < 8 || !hidden.contains(text));
            assert_eq!(decrypt(b"secret", &hidden).as_deref(), Some(text));
            assert_ne!(decrypt(b"other", &hidden).as_deref(), Some(text));
        }
        assert_ne!(encrypt(b"secret", "a"), encrypt(b"secret", "a"));
        for not in ["", "a", "not base64!", "AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(decrypt(b"secret", not), None, "{not}");
        }
    }

    #[test]
    fn signatures() {
        // RFC 4231, test case 2.
        let digits = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(
            sign(b"Jefe", "what do ya want for nothing?"),
            "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
        );
        let older = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digits);
        assert!(is_signed(b"Jefe", "what do ya want for nothing?", &older));
        assert!(!is_signed(b"Jefe", "what do ya want for nothing!", &older));
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
