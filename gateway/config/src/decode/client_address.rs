// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes whom to believe about the client's address.

use crate::client_address::{AddressSource, Clients};
use crate::decode::strings::cidr;
use crate::decode::{Fault, Scope, truth, type_name};
use gateway_xds_api::pb::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::InternalAddressConfig;
use gateway_xds_api::pb::envoy::extensions::http::original_ip_detection::custom_header::v3::CustomHeaderConfig;
use gateway_xds_api::pb::envoy::extensions::http::original_ip_detection::xff::v3::XffConfig;
use gateway_xds_api::unpack;
use http::{HeaderName, StatusCode};
use ipnet::IpNet;

/// Internal addresses and the ways to learn the client's; `edge` where the peer is the client, `hops` as the listener says.
pub(crate) fn clients(
    scope: &mut Scope,
    internal: Option<InternalAddressConfig>,
    extensions: Vec<TypedExtensionConfig>,
    (edge, hops): (bool, u32),
) -> Result<Clients, Fault> {
    let internal = match internal {
        None => Box::default(),
        Some(InternalAddressConfig { unix_sockets, cidr_ranges }) => {
            scope.at("internal_address_config", |scope| {
                scope.unused("unix_sockets", &unix_sockets);
                ranges(scope, cidr_ranges)
            })?
        }
    };
    let named = !extensions.is_empty();
    if named && (edge || hops > 0) {
        return Err(scope.field_fault(
            "original_ip_detection_extensions",
            "cannot stand beside use_remote_address or xff_num_trusted_hops",
        ));
    }
    let mut sources = scope.each("original_ip_detection_extensions", extensions, source)?;
    if !edge && !named {
        sources.push(AddressSource::ForwardedFor {
            trusted_hops: hops,
            trusted: Box::default(),
            append: false,
        });
    }
    Ok(Clients { internal, sources: sources.into() })
}

fn ranges(scope: &mut Scope, ranges: Vec<CidrRange>) -> Result<Box<[IpNet]>, Fault> {
    Ok(scope.each("cidr_ranges", ranges, |scope, range| cidr(scope, "address_prefix", &range))?.into())
}

fn source(scope: &mut Scope, extension: TypedExtensionConfig) -> Result<AddressSource, Fault> {
    let any = scope.required("typed_config", extension.typed_config)?;
    match type_name(&any) {
        "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig" => {
            let XffConfig { xff_num_trusted_hops, xff_trusted_cidrs, skip_xff_append } =
                unpack(&any).map_err(|error| scope.fault(error))?;
            if xff_num_trusted_hops > 0 && xff_trusted_cidrs.is_some() {
                return Err(
                    scope.field_fault("xff_trusted_cidrs", "cannot stand beside xff_num_trusted_hops")
                );
            }
            let trusted = xff_trusted_cidrs
                .map(|trusted| scope.at("xff_trusted_cidrs", |scope| ranges(scope, trusted.cidrs)))
                .transpose()?;
            Ok(AddressSource::ForwardedFor {
                trusted_hops: xff_num_trusted_hops,
                trusted: trusted.unwrap_or_default(),
                append: !truth(skip_xff_append, true),
            })
        }
        "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig" => {
            let CustomHeaderConfig {
                header_name,
                allow_extension_to_set_address_as_trusted,
                reject_with_status,
            } = unpack(&any).map_err(|error| scope.fault(error))?;
            let name = HeaderName::try_from(header_name.as_str())
                .map_err(|_| scope.field_fault("header_name", "is not a header name"))?;
            // As in Envoy: what is no error status counts as 403.
            let reject = reject_with_status.map(|status| {
                let status = u16::try_from(status.code).ok().and_then(|code| StatusCode::from_u16(code).ok());
                status
                    .filter(|status| status.is_client_error() || status.is_server_error())
                    .unwrap_or(StatusCode::FORBIDDEN)
            });
            Ok(AddressSource::Header { name, trusted: allow_extension_to_set_address_as_trusted, reject })
        }
        other => Err(scope.fault(format_args!("{other} is not supported"))),
    }
}
