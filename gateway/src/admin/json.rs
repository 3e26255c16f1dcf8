// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy's admin messages as pages of JSON.

use gateway_telemetry::Page;
use gateway_xds_api::{Descriptors, Secrecy};
use http::StatusCode;
use prost::{Message, Name};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use std::time::SystemTime;

/// A value as Envoy writes it: indented by one blank.
pub(super) fn page(value: &impl Serialize) -> Page {
    let mut body = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(b" "));
    match value.serialize(&mut serializer) {
        Ok(()) => {
            body.push(b'\n');
            Page::typed("application/json", body)
        }
        Err(error) => failed(&error),
    }
}

/// A message of Envoy's, without secrets.
pub(super) fn message<M: Message + Name>(message: &M) -> Page {
    let value = Descriptors::load().and_then(|known| known.message_to_json(message, Secrecy::Redact));
    match value {
        Ok(value) => page(&value),
        Err(error) => failed(&error),
    }
}

/// The descriptors, or the page that says why there are none.
pub(super) fn descriptors() -> Result<Descriptors, Page> {
    Descriptors::load().map_err(|error| failed(&error))
}

fn failed(error: &dyn std::error::Error) -> Page {
    Page::text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot be written as JSON: {error}\n"))
}

/// A `google.protobuf.Timestamp`; null where the clock is out of its range.
pub(super) fn timestamp(time: SystemTime) -> Value {
    jiff::Timestamp::try_from(time).map_or(Value::Null, |time| format!("{time:.3}").into())
}
