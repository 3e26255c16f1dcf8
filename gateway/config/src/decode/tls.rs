// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes TLS towards clients and towards endpoints.

use crate::decode::secret::{certified_key, names, validation};
use crate::decode::{Fault, Scope, fields, truth, type_name};
use crate::{DownstreamTls, SanMatcher, Secret, SecretSource, UpstreamTls};
use gateway_xds_api::pb::envoy::config::core::v3::{
    ConfigSource, TransportSocket, config_source::ConfigSourceSpecifier, transport_socket,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    self as pb, tls_parameters::TlsProtocol,
};
use gateway_xds_api::unpack;
use std::sync::Arc;

/// The socket of a filter chain; none for plain text.
pub(crate) fn downstream(
    scope: &mut Scope,
    socket: Option<TransportSocket>,
) -> Result<Option<DownstreamTls>, Fault> {
    let Some(any) = typed_config(scope, socket)? else { return Ok(None) };
    let context = match type_name(&any) {
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" => return Ok(None),
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" => {
            unpack(&any).map_err(|error| scope.fault(error))?
        }
        other => return Err(scope.fault(format_args!("{other} is not supported"))),
    };
    fields!(scope, context => pb::DownstreamTlsContext {
        use { common_tls_context, require_client_certificate }
        warn {
            require_sni, disable_stateful_session_resumption, session_timeout, ocsp_staple_policy, prefer_client_ciphers, session_ticket_keys_type,
        }
        quiet { full_scan_certs_on_sni_mismatch }
    });
    let common = common(scope, common_tls_context.unwrap_or_default())?;
    let mut certificates = Vec::new();
    for source in common.certificates {
        match source {
            SecretSource::Named(name) => certificates.push(name),
            SecretSource::Inline(_) => {
                return Err(scope.field_fault(
                    "tls_certificates",
                    "is not supported; use tls_certificate_sds_secret_configs",
                ));
            }
        }
    }
    if certificates.is_empty() {
        return Err(scope.field_fault("tls_certificate_sds_secret_configs", "is empty"));
    }
    let client_roots = match common.roots {
        None => None,
        Some(SecretSource::Named(name)) => Some(name),
        Some(SecretSource::Inline(_)) => {
            return Err(scope.field_fault(
                "validation_context",
                "is not supported; use validation_context_sds_secret_config",
            ));
        }
    };
    if !common.names.is_empty() {
        return Err(scope.field_fault(
            "combined_validation_context",
            "name conditions are only supported inside the secret",
        ));
    }
    let require_client_certificate = truth(require_client_certificate, false);
    if require_client_certificate && client_roots.is_none() {
        return Err(
            scope.field_fault("require_client_certificate", "needs validation_context_sds_secret_config")
        );
    }
    Ok(Some(DownstreamTls {
        certificates: certificates.into(),
        alpn: common.alpn,
        client_roots,
        require_client_certificate,
        allow_tls12: common.allow_tls12,
        allow_tls13: common.allow_tls13,
    }))
}

/// TLS towards endpoints.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn upstream(scope: &mut Scope, context: pb::UpstreamTlsContext) -> Result<UpstreamTls, Fault> {
    fields!(scope, context => pb::UpstreamTlsContext {
        use { common_tls_context, sni, auto_host_sni, auto_sni_san_validation, allow_renegotiation }
        warn { }
        quiet { max_session_keys, enforce_rsa_key_usage }
    });
    if allow_renegotiation {
        return Err(scope.field_fault("allow_renegotiation", "is not supported: renegotiation is not safe"));
    }
    let common = common(scope, common_tls_context.unwrap_or_default())?;
    let mut certificates = common.certificates.into_iter();
    let certificate = certificates.next();
    if certificates.next().is_some() {
        scope.warn("common_tls_context", "only the first certificate is used towards endpoints");
    }
    let sni: Option<Box<str>> = Some(sni).filter(|sni| !sni.is_empty()).map(Into::into);
    if sni.as_deref().is_some_and(|sni| rustls_pki_types::ServerName::try_from(sni).is_err()) {
        return Err(scope.field_fault("sni", "is not a server name"));
    }
    if auto_sni_san_validation && common.roots.is_none() {
        return Err(scope.field_fault("auto_sni_san_validation", "needs a validation context"));
    }
    Ok(UpstreamTls {
        sni,
        host_sni: auto_host_sni,
        verify_sni: auto_sni_san_validation,
        alpn: common.alpn,
        roots: common.roots,
        names: common.names.into(),
        allow_tls12: common.allow_tls12,
        allow_tls13: common.allow_tls13,
        certificate,
    })
}

/// What both directions have in common.
struct Common {
    certificates: Vec<SecretSource>,
    alpn: Box<[Box<str>]>,
    roots: Option<SecretSource>,
    names: Vec<SanMatcher>,
    allow_tls12: bool,
    allow_tls13: bool,
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn common(scope: &mut Scope, context: pb::CommonTlsContext) -> Result<Common, Fault> {
    fields!(scope, context => pb::CommonTlsContext {
        use {
            tls_params, tls_certificates, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type, custom_handshaker,
            tls_certificate_provider_instance,
        }
        warn { custom_tls_certificate_selector, tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance, key_log }
        quiet { }
    });
    if custom_handshaker.is_some() || tls_certificate_provider_instance.is_some() {
        return Err(scope.field_fault(
            "common_tls_context",
            "custom handshakers and certificate providers are not supported",
        ));
    }
    let (allow_tls12, allow_tls13) = versions(scope, tls_params.unwrap_or_default())?;
    let mut certificates = scope.each("tls_certificates", tls_certificates, |scope, certificate| {
        let (kind, digest) = certified_key(scope, certificate)?;
        Ok(SecretSource::Inline(Arc::new(Secret { name: Box::default(), kind, digest })))
    })?;
    certificates.extend(scope.each(
        "tls_certificate_sds_secret_configs",
        tls_certificate_sds_secret_configs,
        sds_name,
    )?);
    let (roots, names) = roots(scope, validation_context_type)?;
    let alpn = alpn_protocols.into_iter().map(Into::into).collect();
    Ok(Common { certificates, alpn, roots, names, allow_tls12, allow_tls13 })
}

fn roots(
    scope: &mut Scope,
    context: Option<ValidationContextType>,
) -> Result<(Option<SecretSource>, Vec<SanMatcher>), Fault> {
    match context {
        None => Ok((None, Vec::new())),
        Some(ValidationContextType::ValidationContext(context)) => scope.at("validation_context", |scope| {
            let (kind, digest) = validation(scope, context)?;
            Ok((
                Some(SecretSource::Inline(Arc::new(Secret { name: Box::default(), kind, digest }))),
                Vec::new(),
            ))
        }),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => Ok((
            Some(scope.at("validation_context_sds_secret_config", |scope| sds_name(scope, config))?),
            Vec::new(),
        )),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            scope.at("combined_validation_context", |scope| combined_roots(scope, combined))
        }
        Some(_) => {
            Err(scope.field_fault("validation_context_type", "certificate providers are not supported"))
        }
    }
}

/// Roots by SDS, name conditions beside them.
#[allow(deprecated, reason = "the older form of name conditions is still sent")]
fn combined_roots(
    scope: &mut Scope,
    combined: pb::common_tls_context::CombinedCertificateValidationContext,
) -> Result<(Option<SecretSource>, Vec<SanMatcher>), Fault> {
    let config = scope
        .required("validation_context_sds_secret_config", combined.validation_context_sds_secret_config)?;
    let roots = scope.at("validation_context_sds_secret_config", |scope| sds_name(scope, config))?;
    let mut rest = combined.default_validation_context.unwrap_or_default();
    let typed = std::mem::take(&mut rest.match_typed_subject_alt_names);
    let untyped = std::mem::take(&mut rest.match_subject_alt_names);
    if rest != pb::CertificateValidationContext::default() {
        return Err(scope
            .field_fault("default_validation_context", "only match_typed_subject_alt_names is supported"));
    }
    Ok((Some(roots), scope.at("default_validation_context", |scope| names(scope, typed, untyped))?))
}

fn versions(scope: &mut Scope, parameters: pb::TlsParameters) -> Result<(bool, bool), Fault> {
    fields!(scope, parameters => pb::TlsParameters {
        use { tls_minimum_protocol_version, tls_maximum_protocol_version }
        warn { cipher_suites, ecdh_curves, signature_algorithms, compliance_policies }
        quiet { }
    });
    let version = |scope: &Scope, field: &str, value: i32, automatic: i32| match TlsProtocol::try_from(value)
    {
        Ok(TlsProtocol::TlsAuto) => Ok(automatic),
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11 | TlsProtocol::TlSv12) => Ok(12),
        Ok(TlsProtocol::TlSv13) => Ok(13),
        Err(_) => Err(scope.field_fault(field, "is unknown")),
    };
    if matches!(
        TlsProtocol::try_from(tls_minimum_protocol_version),
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11)
    ) {
        scope.warn("tls_minimum_protocol_version", "tls below 1.2 is not spoken");
    }
    let least = version(scope, "tls_minimum_protocol_version", tls_minimum_protocol_version, 12)?;
    let most = version(scope, "tls_maximum_protocol_version", tls_maximum_protocol_version, 13)?;
    if least > most {
        return Err(scope.field_fault("tls_maximum_protocol_version", "is below the minimum"));
    }
    Ok((least <= 12, most >= 13))
}

/// The name of a secret. One that Envoy would ask another server for (Istio's agent beside the proxy) is asked of the control plane: until it
/// has it, whoever needs it waits or fails.
pub(crate) fn sds_name(scope: &mut Scope, config: pb::SdsSecretConfig) -> Result<SecretSource, Fault> {
    let pb::SdsSecretConfig { name, sds_config } = config;
    if name.is_empty() {
        return Err(scope.field_fault("name", "is empty"));
    }
    if let Some(ConfigSourceSpecifier::ApiConfigSource(_)) =
        sds_config.as_ref().and_then(|source| source.config_source_specifier.as_ref())
    {
        scope.warn("sds_config", "names another server; the secret is asked of the control plane");
    } else {
        over_ads(scope, "sds_config", sds_config)?;
    }
    Ok(SecretSource::Named(name.into()))
}

/// Only the stream that is there already: a resource never opens another one, or a file.
pub(crate) fn over_ads(scope: &Scope, field: &str, source: Option<ConfigSource>) -> Result<(), Fault> {
    match source.and_then(|source| source.config_source_specifier) {
        None | Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        Some(_) => Err(scope.field_fault(field, "must be ads")),
    }
}

/// The typed configuration of a socket; none for no socket at all.
pub(crate) fn typed_config(
    scope: &Scope,
    socket: Option<TransportSocket>,
) -> Result<Option<gateway_xds_api::pb::google::protobuf::Any>, Fault> {
    let Some(socket) = socket else { return Ok(None) };
    let transport_socket::ConfigType::TypedConfig(any) =
        scope.required("typed_config", socket.config_type)?;
    Ok(Some(any))
}
