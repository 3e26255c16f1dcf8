// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! From protobuf messages to compiled parts: every field is read, or reported as having no effect.
//!
//! A message is taken apart completely ([`fields!`]): a field that a new version of the API brings does not compile until somebody decides what
//! becomes of it.

pub(crate) mod access_log;
pub(crate) mod action;
pub(crate) mod client_address;
pub(crate) mod client_certificate;
pub(crate) mod cluster;
pub(crate) mod cluster_connection;
pub(crate) mod cluster_policy;
pub(crate) mod discovery;
pub(crate) mod dns_servers;
pub(crate) mod endpoints;
pub(crate) mod filter_chains;
pub(crate) mod filter_settings;
pub(crate) mod filters;
pub(crate) mod format;
pub(crate) mod hash_policy;
pub(crate) mod headers;
pub(crate) mod health_check;
pub(crate) mod http;
pub(crate) mod http_filter;
pub(crate) mod internal_redirect;
pub(crate) mod listener;
pub(crate) mod load_balancing;
pub(crate) mod local_reply;
pub(crate) mod metadata_match;
pub(crate) mod mutation_rules;
pub(crate) mod network_gate;
pub(crate) mod rate_limit;
pub(crate) mod redirect;
pub(crate) mod retry;
pub(crate) mod route_match;
pub(crate) mod route_table;
pub(crate) mod secret;
pub(crate) mod services;
pub(crate) mod socket;
pub(crate) mod strings;
pub(crate) mod tcp_proxy;
pub(crate) mod tls;
pub(crate) mod tracing;
pub(crate) mod udp_proxy;
pub(crate) mod uri_template;
pub(crate) mod wasm_config;
pub(crate) mod watching;

use gateway_xds_api::pb::google::protobuf;
use std::fmt;
use std::time::Duration;

/// Takes a message apart: `use` names what the decoder reads, `warn` what has no effect here, `quiet` what says nothing about traffic.
macro_rules! fields {
    ($scope:ident, $message:expr => $($type:ident)::+ {
        use { $($used:ident),* $(,)? }
        warn { $($unused:ident),* $(,)? }
        quiet { $($quiet:ident),* $(,)? }
    }) => {
        let $($type)::+ { $($used,)* $($unused,)* $($quiet: _,)* } = $message;
        $($scope.unused(stringify!($unused), &$unused);)*
    };
}
pub(crate) use fields;

/// Why a resource is rejected: where and what.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in a resource decoding is, and the warnings so far.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    path: String,
    /// Field and message.
    pub(crate) warnings: Vec<String>,
}

impl Scope {
    /// Decodes a part at `field`.
    pub(crate) fn at<T>(&mut self, field: impl fmt::Display, decode: impl FnOnce(&mut Self) -> T) -> T {
        use fmt::Write;
        let before = self.path.len();
        // Writing into a String cannot fail.
        let _ = if before == 0 { write!(self.path, "{field}") } else { write!(self.path, ".{field}") };
        let result = decode(self);
        self.path.truncate(before);
        result
    }

    /// Decodes each part of a list at `field[n]`.
    pub(crate) fn each<I, T>(
        &mut self,
        field: &str,
        items: impl IntoIterator<Item = I>,
        mut decode: impl FnMut(&mut Self, I) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        items
            .into_iter()
            .enumerate()
            .map(|(at, item)| self.at(format_args!("{field}[{at}]"), |scope| decode(scope, item)))
            .collect()
    }

    /// The resource is rejected because of the part that is being decoded.
    pub(crate) fn fault(&self, message: impl fmt::Display) -> Fault {
        Fault(if self.path.is_empty() { message.to_string() } else { format!("{}: {message}", self.path) })
    }

    /// The resource is rejected because of a field of the part that is being decoded.
    pub(crate) fn field_fault(&self, field: &str, message: impl fmt::Display) -> Fault {
        Fault(if self.path.is_empty() {
            format!("{field}: {message}")
        } else {
            format!("{}.{field}: {message}", self.path)
        })
    }

    /// Says something about a field without rejecting.
    pub(crate) fn warn(&mut self, field: &str, message: impl fmt::Display) {
        let Fault(text) = self.field_fault(field, message);
        self.warnings.push(text);
    }

    /// Warns where a field that has no effect is set.
    pub(crate) fn unused<T: Default + PartialEq>(&mut self, field: &str, value: &T) {
        if *value != T::default() {
            self.warn(field.trim_start_matches("r#"), "has no effect in this gateway");
        }
    }

    /// A value that must be there.
    pub(crate) fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| self.field_fault(field, "is missing"))
    }

    /// A duration; negative ones are rejected.
    pub(crate) fn duration(
        &self,
        field: &str,
        value: Option<protobuf::Duration>,
    ) -> Result<Option<Duration>, Fault> {
        let Some(protobuf::Duration { seconds, nanos }) = value else { return Ok(None) };
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Some(Duration::new(seconds, nanos))),
            _ => Err(self.field_fault(field, "is not a duration of zero or more")),
        }
    }

    /// A time limit: absent gives the default, zero switches it off.
    pub(crate) fn limit(
        &self,
        field: &str,
        value: Option<protobuf::Duration>,
        default: Option<Duration>,
    ) -> Result<Option<Duration>, Fault> {
        Ok(match self.duration(field, value)? {
            None => default,
            Some(Duration::ZERO) => None,
            set => set,
        })
    }
}

/// The name in a type URL.
pub(crate) fn type_name(any: &protobuf::Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// A wrapped number.
pub(crate) fn number(value: Option<protobuf::UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

/// A wrapped truth value.
pub(crate) fn truth(value: Option<protobuf::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}
