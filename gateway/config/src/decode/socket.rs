// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes what connections to endpoints are made of.

use crate::decode::endpoints::socket_address;
use crate::decode::tls::{typed_config, upstream};
use crate::decode::{Fault, Scope, fields, type_name};
use crate::{
    ConnectProxy, LbMetadata, ProxyHeader, ProxyHeaderVersion, RequestNames, SocketMatch, UpstreamSocket,
};
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster;
use gateway_xds_api::pb::envoy::config::core::v3::{
    self as core, ProxyProtocolConfig, TransportSocket, proxy_protocol_config,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::{
    http_11_proxy::v3::Http11ProxyUpstreamTransport, proxy_protocol::v3::ProxyProtocolUpstreamTransport,
};
use gateway_xds_api::unpack;

const PREFIX: &str = "envoy.extensions.transport_sockets.";
/// Bytes of all TLVs of a PROXY protocol header.
const MAX_TLVS: usize = 4096;

/// The socket of a cluster.
pub(crate) fn socket(scope: &mut Scope, socket: Option<TransportSocket>) -> Result<UpstreamSocket, Fault> {
    if let Some(socket) = &socket
        && socket.config_type.is_none()
        && socket.name == "envoy.transport_sockets.raw_buffer"
    {
        return Ok(UpstreamSocket::default());
    }
    let Some(any) = typed_config(scope, socket)? else { return Ok(UpstreamSocket::default()) };
    match type_name(&any).strip_prefix(PREFIX) {
        Some("raw_buffer.v3.RawBuffer") => Ok(UpstreamSocket::default()),
        Some("tls.v3.UpstreamTlsContext") => {
            let context = unpack(&any).map_err(|error| scope.fault(error))?;
            upstream(scope, context).map(|tls| UpstreamSocket::of_tls(Some(tls)))
        }
        Some("proxy_protocol.v3.ProxyProtocolUpstreamTransport") => {
            let message: ProxyProtocolUpstreamTransport = unpack(&any).map_err(|error| scope.fault(error))?;
            fields!(scope, message => ProxyProtocolUpstreamTransport {
                use { config, transport_socket }
                warn { allow_unspecified_address, tlv_as_pool_key }
                quiet { }
            });
            let header = scope.at("config", |scope| proxy_header(scope, config.unwrap_or_default()))?;
            Ok(UpstreamSocket { proxy_protocol: Some(header), ..inner(scope, transport_socket)? })
        }
        Some("http_11_proxy.v3.Http11ProxyUpstreamTransport") => {
            let message: Http11ProxyUpstreamTransport = unpack(&any).map_err(|error| scope.fault(error))?;
            let Http11ProxyUpstreamTransport { transport_socket, default_proxy_address } = message;
            let default = default_proxy_address
                .map(|address| {
                    scope.at("default_proxy_address", |scope| socket_address(scope, Some(address)))
                })
                .transpose()?;
            let inner = inner(scope, transport_socket)?;
            if inner.tls.is_none() {
                return Err(scope.field_fault(
                    "transport_socket",
                    "must be tls: requests in plain text are not sent through a proxy",
                ));
            }
            Ok(UpstreamSocket { connect_proxy: Some(ConnectProxy { default }), ..inner })
        }
        Some("internal_upstream.v3.InternalUpstreamTransport") => {
            Err(scope
                .fault("InternalUpstreamTransport is not supported: there are no internal listeners here"))
        }
        _ => Err(scope.fault(format_args!("{} is not supported", type_name(&any)))),
    }
}

/// What a wrapper wraps: plain text or TLS, not another wrapper.
fn inner(scope: &mut Scope, inner: Option<TransportSocket>) -> Result<UpstreamSocket, Fault> {
    scope.at("transport_socket", |scope| {
        let Some(inner) = inner else { return Ok(UpstreamSocket::default()) };
        let Some(any) = typed_config(scope, Some(inner))? else { return Ok(UpstreamSocket::default()) };
        match type_name(&any).strip_prefix(PREFIX) {
            Some("raw_buffer.v3.RawBuffer") => Ok(UpstreamSocket::default()),
            Some("tls.v3.UpstreamTlsContext") => {
                let context = unpack(&any).map_err(|error| scope.fault(error))?;
                upstream(scope, context).map(|tls| UpstreamSocket::of_tls(Some(tls)))
            }
            _ => {
                Err(scope
                    .fault(format_args!("{} is not supported here; use raw_buffer or tls", type_name(&any))))
            }
        }
    })
}

fn proxy_header(scope: &mut Scope, config: ProxyProtocolConfig) -> Result<ProxyHeader, Fault> {
    let ProxyProtocolConfig { version, pass_through_tlvs, added_tlvs } = config;
    scope.unused("pass_through_tlvs", &pass_through_tlvs);
    let version = match proxy_protocol_config::Version::try_from(version) {
        Ok(proxy_protocol_config::Version::V1) => ProxyHeaderVersion::V1,
        Ok(proxy_protocol_config::Version::V2) => ProxyHeaderVersion::V2,
        Err(_) => return Err(scope.field_fault("version", "is unknown")),
    };
    let tlvs = scope.each("added_tlvs", added_tlvs, |scope, entry| {
        let core::TlvEntry { r#type, value, format_string } = entry;
        if format_string.is_some() {
            return Err(scope.field_fault("format_string", "is not supported; use value"));
        }
        let kind = u8::try_from(r#type).map_err(|_| scope.field_fault("type", "is above 255"))?;
        Ok((kind, value.into()))
    })?;
    if tlvs.iter().map(|(_, value): &(u8, bytes::Bytes)| value.len() + 3).sum::<usize>() > MAX_TLVS {
        return Err(scope.field_fault("added_tlvs", format_args!("are more than {MAX_TLVS} bytes")));
    }
    Ok(ProxyHeader { version, tlvs: tlvs.into() })
}

/// Sockets by metadata of endpoints.
pub(crate) fn socket_matches(
    scope: &mut Scope,
    matches: Vec<cluster::TransportSocketMatch>,
) -> Result<Box<[SocketMatch]>, Fault> {
    let found = scope.each("transport_socket_matches", matches, |scope, found| {
        let cluster::TransportSocketMatch { name, r#match, transport_socket } = found;
        let transport_socket = scope.required("transport_socket", transport_socket)?;
        Ok(SocketMatch {
            name: name.into(),
            criteria: LbMetadata::new(r#match.unwrap_or_default()),
            socket: scope.at("transport_socket", |scope| socket(scope, Some(transport_socket)))?,
        })
    });
    found.map(Into::into)
}

/// Names for TLS that follow the request.
pub(crate) fn request_names(
    scope: &Scope,
    options: core::UpstreamHttpProtocolOptions,
) -> Result<Option<RequestNames>, Fault> {
    let core::UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header } =
        options;
    if !auto_sni {
        // A name that is verified but not asked for would depend on which connection is there.
        return match auto_san_validation {
            true => Err(scope.field_fault("auto_san_validation", "needs auto_sni")),
            false => Ok(None),
        };
    }
    let header = match &*override_auto_sni_header {
        "" | ":authority" => None,
        name => Some(
            name.parse()
                .map_err(|_| scope.field_fault("override_auto_sni_header", "is not a header name"))?,
        ),
    };
    Ok(Some(RequestNames { header, verify: auto_san_validation }))
}
