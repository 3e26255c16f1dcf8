// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes certificates, keys and roots. Messages say what is wrong with a key, never what it is.

use crate::decode::redirect::inline;
use crate::decode::strings::string_matcher;
use crate::decode::{Fault, Scope, fields};
use crate::{GenericSecret, Pins, Revocations, SanKind, SanMatcher, Secret, SecretKind, Validation};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    self as pb, secret, subject_alt_name_matcher::SanType,
};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// A secret.
pub(crate) fn secret(scope: &mut Scope, secret: pb::Secret) -> Result<Secret, Fault> {
    let pb::Secret { name, r#type } = secret;
    let (kind, digest) = match scope.required("type", r#type)? {
        secret::Type::TlsCertificate(certificate) => {
            scope.at("tls_certificate", |scope| certified_key(scope, certificate))?
        }
        secret::Type::ValidationContext(context) => {
            scope.at("validation_context", |scope| validation(scope, context))?
        }
        secret::Type::SessionTicketKeys(_) => {
            return Err(scope.field_fault("session_ticket_keys", "is not supported"));
        }
        secret::Type::GenericSecret(generic) => {
            scope.at("generic_secret", |scope| self::generic(scope, generic))?
        }
    };
    Ok(Secret { name: name.into(), kind, digest })
}

/// Bytes for filters.
fn generic(scope: &mut Scope, secret: pb::GenericSecret) -> Result<(SecretKind, u64), Fault> {
    let pb::GenericSecret { secret, secrets } = secret;
    if !secrets.is_empty() {
        return Err(scope.field_fault("secrets", "is not supported; use secret"));
    }
    let source = scope.required("secret", secret)?;
    let bytes = scope.at("secret", |scope| inline(scope, source))?;
    if bytes.is_empty() {
        return Err(scope.field_fault("secret", "is empty"));
    }
    Ok((SecretKind::Generic(Arc::new(GenericSecret(bytes.to_vec().into()))), digest(&[&bytes])))
}

/// A chain with its key.
pub(crate) fn certified_key(
    scope: &mut Scope,
    certificate: pb::TlsCertificate,
) -> Result<(SecretKind, u64), Fault> {
    fields!(scope, certificate => pb::TlsCertificate {
        use { certificate_chain, private_key, ocsp_staple }
        warn { pkcs12, private_key_provider, password, signed_certificate_timestamp, tls_params }
        quiet { watched_directory }
    });
    let chain_pem = scope.required("certificate_chain", certificate_chain)?;
    let chain_pem = scope.at("certificate_chain", |scope| inline(scope, chain_pem))?;
    let key_pem = scope.required("private_key", private_key)?;
    let key_pem = scope.at("private_key", |scope| inline(scope, key_pem))?;
    let chain = certificates(scope, "certificate_chain", &chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| scope.field_fault("private_key", "is not a private key in pem"))?;
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let signing = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| scope.field_fault("private_key", "is of a kind that is not supported"))?;
    let mut certified = CertifiedKey::new(chain, signing);
    certified
        .keys_match()
        .map_err(|_| scope.field_fault("private_key", "does not belong to the certificate"))?;
    certified.ocsp = ocsp_staple
        .map(|staple| scope.at("ocsp_staple", |scope| inline(scope, staple)))
        .transpose()?
        .map(|bytes| bytes.to_vec());
    Ok((SecretKind::Certificate(Arc::new(certified)), digest(&[&chain_pem, &key_pem])))
}

/// What peers are checked against.
#[allow(deprecated, reason = "the older form of name conditions is still sent")]
pub(crate) fn validation(
    scope: &mut Scope,
    context: pb::CertificateValidationContext,
) -> Result<(SecretKind, u64), Fault> {
    fields!(scope, context => pb::CertificateValidationContext {
        use {
            trusted_ca, ca_certificate_provider_instance, system_root_certs, verify_certificate_spki, verify_certificate_hash,
            match_typed_subject_alt_names, match_subject_alt_names, crl, custom_validator_config, trust_chain_verification,
            only_verify_leaf_cert_crl,
        }
        warn { require_signed_certificate_timestamp, allow_expired_certificate, max_verify_depth }
        quiet { watched_directory, suppress_client_ca_list }
    });
    // A check that is not made would trust peers that it should not.
    let unchecked = [
        ("ca_certificate_provider_instance", ca_certificate_provider_instance.is_some()),
        ("custom_validator_config", custom_validator_config.is_some()),
        ("trust_chain_verification", trust_chain_verification != 0),
    ];
    if let Some((field, _)) = unchecked.into_iter().find(|(_, set)| *set) {
        return Err(
            scope.field_fault(field, "is not supported; use trusted_ca and match_typed_subject_alt_names")
        );
    }
    let mut roots = RootCertStore::empty();
    let mut lists = Vec::new();
    let mut seen = Vec::new();
    let system_roots = trusted_ca.is_none() && system_root_certs.is_some();
    if let Some(source) = trusted_ca {
        let pem = scope.at("trusted_ca", |scope| inline(scope, source))?;
        for certificate in certificates(scope, "trusted_ca", &pem)? {
            roots
                .add(certificate)
                .map_err(|_| scope.field_fault("trusted_ca", "has a certificate that cannot be a root"))?;
        }
        lists = revocation_lists(scope, "trusted_ca", &pem)?;
        seen.push(pem);
    }
    if let Some(source) = crl {
        let pem = scope.at("crl", |scope| inline(scope, source))?;
        let found = revocation_lists(scope, "crl", &pem)?;
        if found.is_empty() {
            return Err(scope.field_fault("crl", "has no revocation list"));
        }
        lists.extend(found);
        seen.push(pem);
    }
    let pins = Pins {
        certificates: scope.each("verify_certificate_hash", verify_certificate_hash, fingerprint)?.into(),
        keys: scope.each("verify_certificate_spki", verify_certificate_spki, key_fingerprint)?.into(),
    };
    let names = names(scope, match_typed_subject_alt_names, match_subject_alt_names)?;
    if roots.is_empty() && !system_roots {
        // A name that nobody vouches for, or a list that nobody signed, says nothing.
        if pins.is_empty() || !names.is_empty() || !lists.is_empty() {
            return Err(scope.field_fault("trusted_ca", "is missing"));
        }
    }
    let shown = format!("{names:?} {pins:?} {system_roots} {only_verify_leaf_cert_crl}");
    seen.push(shown.into_bytes().into());
    let digest = digest(&seen.iter().map(|part| &part[..]).collect::<Vec<_>>());
    let validation = Validation {
        roots: Arc::new(roots),
        system_roots,
        names: names.into(),
        revocations: Revocations { lists: lists.into(), leaf_only: only_verify_leaf_cert_crl },
        pins,
    };
    Ok((SecretKind::Validation(Arc::new(validation)), digest))
}

fn revocation_lists(
    scope: &Scope,
    field: &str,
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault> {
    let lists = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    lists.map_err(|_| scope.field_fault(field, "has a revocation list that is not in pem"))
}

/// SHA-256 in hexadecimal, colons between bytes or not.
fn fingerprint(scope: &mut Scope, text: String) -> Result<[u8; 32], Fault> {
    let digits: Vec<u32> = text.chars().filter(|c| *c != ':').map_while(|c| c.to_digit(16)).collect();
    let whole = text.chars().filter(|c| *c != ':').count() == 64 && digits.len() == 64;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte: u32, digit| byte * 16 + digit))
        .filter_map(|byte| u8::try_from(byte).ok())
        .collect();
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) if whole => Ok(bytes),
        _ => Err(scope.fault("is not a SHA-256 in hexadecimal")),
    }
}

/// SHA-256 in base64.
fn key_fingerprint(scope: &mut Scope, text: String) -> Result<[u8; 32], Fault> {
    let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| scope.fault("is not a SHA-256 in base64"))
}

/// Conditions on the names in a certificate.
pub(crate) fn names(
    scope: &mut Scope,
    typed: Vec<pb::SubjectAltNameMatcher>,
    untyped: Vec<gateway_xds_api::pb::envoy::r#type::matcher::v3::StringMatcher>,
) -> Result<Vec<SanMatcher>, Fault> {
    let mut names = scope.each("match_typed_subject_alt_names", typed, |scope, matcher| {
        let kind = match SanType::try_from(matcher.san_type) {
            Ok(SanType::Dns) => SanKind::Dns,
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::IpAddress) => SanKind::Ip,
            Ok(SanType::Email) => SanKind::Email,
            _ => return Err(scope.field_fault("san_type", "must be DNS, URI, IP_ADDRESS or EMAIL")),
        };
        let matcher = scope.required("matcher", matcher.matcher)?;
        Ok(SanMatcher { kind, matcher: scope.at("matcher", |scope| string_matcher(scope, matcher))? })
    })?;
    for matcher in scope.each("match_subject_alt_names", untyped, string_matcher)? {
        names.extend(
            [SanKind::Dns, SanKind::Uri, SanKind::Ip, SanKind::Email]
                .map(|kind| SanMatcher { kind, matcher: matcher.clone() }),
        );
    }
    Ok(names)
}

fn certificates(scope: &Scope, field: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| scope.field_fault(field, "is not a list of certificates in pem"))?;
    match chain.is_empty() {
        true => Err(scope.field_fault(field, "has no certificate")),
        false => Ok(chain),
    }
}

/// Tells contents apart inside this process; not a secret's fingerprint for others.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}
