// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the compressor.

use crate::decode::strings::string_matcher;
use crate::decode::{Fault, Scope, fields, number, truth, type_name};
use crate::{Compressor, Encoding, StringMatcher, StringPattern};
use gateway_xds_api::pb::envoy::config::core::v3::{RuntimeFeatureFlag, TypedExtensionConfig};
use gateway_xds_api::pb::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use gateway_xds_api::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use gateway_xds_api::pb::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use gateway_xds_api::pb::envoy::extensions::filters::http::compressor::v3::{
    self as pb,
    compressor::{CommonDirectionConfig, ResponseDirectionConfig},
    compressor_per_route::Override,
};
use gateway_xds_api::pb::google::protobuf::{Any, UInt32Value};
use gateway_xds_api::unpack;

/// Envoy's defaults.
const CONTENT_TYPES: [&str; 8] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
];
const MIN_LENGTH: u32 = 30;

/// The listener's compressor.
#[allow(deprecated, reason = "older control planes send the settings outside of the direction still")]
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<Compressor, Fault> {
    let message: pb::Compressor = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::Compressor {
        use {
            content_length, content_type, disable_on_etag_header, remove_accept_encoding_header, runtime_enabled, compressor_library,
            response_direction_config, choose_first,
        }
        warn { request_direction_config }
        quiet { }
    });
    let library = scope.required("compressor_library", compressor_library)?;
    let encoding = scope.at("compressor_library", |scope| encoding(scope, library))?;
    let ResponseDirectionConfig {
        common_config,
        disable_on_etag_header: disable_on_etag,
        weaken_etag_on_compress,
        remove_accept_encoding_header: remove_accept_encoding,
        uncompressible_response_codes,
        status_header_enabled,
    } = response_direction_config.unwrap_or_default();
    scope.unused("response_direction_config.status_header_enabled", &status_header_enabled);
    let CommonDirectionConfig {
        enabled,
        min_content_length,
        content_type: inner_types,
        content_type_matcher,
    } = common_config.unwrap_or_default();
    let literal = |text: String| StringMatcher {
        pattern: StringPattern::Exact(text.into_bytes().into()),
        ignore_case: true,
    };
    let mut types: Vec<StringMatcher> = content_type.into_iter().chain(inner_types).map(literal).collect();
    types.extend(scope.each(
        "response_direction_config.common_config.content_type_matcher",
        content_type_matcher,
        string_matcher,
    )?);
    if types.is_empty() {
        types = CONTENT_TYPES.iter().map(|text| literal((*text).to_owned())).collect();
    }
    let length = number(min_content_length.or(content_length)).unwrap_or(MIN_LENGTH);
    Ok(Compressor {
        encoding,
        enabled: is_on(enabled.or(runtime_enabled)),
        min_content_length: length.into(),
        content_types: types.into(),
        disable_on_etag: disable_on_etag || disable_on_etag_header,
        weaken_etag: weaken_etag_on_compress,
        remove_accept_encoding: remove_accept_encoding || remove_accept_encoding_header,
        uncompressible_statuses: uncompressible_response_codes
            .into_iter()
            .filter_map(|status| u16::try_from(status).ok())
            .collect(),
        choose_first,
    })
}

/// A route's setting: none where it is switched off, else whether `accept-encoding` is removed, where it says so.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<Option<Option<bool>>, Fault> {
    let pb::CompressorPerRoute { r#override } = unpack(any).map_err(|error| scope.fault(error))?;
    match scope.required("override", r#override)? {
        Override::Disabled(true) => Ok(None),
        Override::Disabled(false) => Err(scope.field_fault("disabled", "must be true")),
        Override::Overrides(overrides) => {
            scope.unused("overrides.compressor_library", &overrides.compressor_library);
            let response = overrides.response_direction_config.unwrap_or_default();
            Ok(Some(response.remove_accept_encoding_header.map(|remove| remove.value)))
        }
    }
}

/// The runtime key has no effect, its default counts.
fn is_on(flag: Option<RuntimeFeatureFlag>) -> bool {
    flag.is_none_or(|flag| truth(flag.default_value, true))
}

fn encoding(scope: &mut Scope, library: TypedExtensionConfig) -> Result<Encoding, Fault> {
    let any = scope.required("typed_config", library.typed_config)?;
    let within =
        |scope: &Scope,
         field: &str,
         value: Option<UInt32Value>,
         default: u32,
         range: std::ops::RangeInclusive<u32>| {
            let value = number(value).unwrap_or(default);
            match range.contains(&value) {
                true => Ok(value),
                false => Err(scope
                    .field_fault(field, format_args!("must be from {} to {}", range.start(), range.end()))),
            }
        };
    match type_name(&any) {
        "envoy.extensions.compression.gzip.compressor.v3.Gzip" => {
            let message: Gzip = unpack(&any).map_err(|error| scope.fault(error))?;
            fields!(scope, message => Gzip {
                use { compression_level }
                warn { }
                quiet { memory_level, compression_strategy, window_bits, chunk_size }
            });
            let level = u32::try_from(compression_level).ok().filter(|level| *level <= 9);
            let level = level.ok_or_else(|| scope.field_fault("compression_level", "must be from 0 to 9"))?;
            // 0 is zlib's own default.
            Ok(Encoding::Gzip { level: if level == 0 { 6 } else { level } })
        }
        "envoy.extensions.compression.brotli.compressor.v3.Brotli" => {
            let message: Brotli = unpack(&any).map_err(|error| scope.fault(error))?;
            fields!(scope, message => Brotli {
                use { quality, window_bits }
                warn { }
                quiet { encoder_mode, input_block_bits, chunk_size, disable_literal_context_modeling }
            });
            Ok(Encoding::Brotli {
                quality: within(scope, "quality", quality, 3, 0..=11)?,
                window: within(scope, "window_bits", window_bits, 18, 10..=24)?,
            })
        }
        "envoy.extensions.compression.zstd.compressor.v3.Zstd" => {
            let message: Zstd = unpack(&any).map_err(|error| scope.fault(error))?;
            fields!(scope, message => Zstd {
                use { compression_level, dictionary }
                warn { enable_checksum }
                quiet { strategy, chunk_size }
            });
            if dictionary.is_some() {
                return Err(scope.field_fault("dictionary", "is not supported"));
            }
            let level = within(scope, "compression_level", compression_level, 3, 1..=22)?;
            Ok(Encoding::Zstd { level: i32::try_from(level).unwrap_or(3) })
        }
        other => Err(scope.fault(format_args!("the compressor {other} is not supported"))),
    }
}
