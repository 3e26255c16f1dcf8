// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the buffer filter.

use crate::Buffer;
use crate::decode::{Fault, Scope};
use gateway_xds_api::pb::envoy::extensions::filters::http::buffer::v3::{self as pb, buffer_per_route};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;

/// The listener's filter.
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<Buffer, Fault> {
    let message = unpack(any).map_err(|error| scope.fault(error))?;
    buffer(scope, message)
}

/// The setting of a route; none where it is switched off.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<Option<Buffer>, Fault> {
    let pb::BufferPerRoute { r#override } = unpack(any).map_err(|error| scope.fault(error))?;
    match scope.required("override", r#override)? {
        buffer_per_route::Override::Disabled(true) => Ok(None),
        buffer_per_route::Override::Disabled(false) => Err(scope.field_fault("disabled", "must be true")),
        buffer_per_route::Override::Buffer(message) => {
            scope.at("buffer", |scope| buffer(scope, message)).map(Some)
        }
    }
}

fn buffer(scope: &mut Scope, message: pb::Buffer) -> Result<Buffer, Fault> {
    let pb::Buffer { max_request_bytes } = message;
    match scope.required("max_request_bytes", max_request_bytes)?.value {
        0 => Err(scope.field_fault("max_request_bytes", "must be above 0")),
        max_request_bytes => Ok(Buffer { max_request_bytes }),
    }
}
