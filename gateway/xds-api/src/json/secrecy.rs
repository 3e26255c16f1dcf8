// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is not written out: secrets, and packed messages that cannot be read.

use super::{Descriptors, Secrecy, name_of};
use envoy_types::pb::google::protobuf::{Any, StringValue, Struct, Value as ProtobufValue, value::Kind};
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};
use serde_json::Value as Json;

/// What stands in place of a secret, as in Envoy's pages.
const REDACTED: &str = "[redacted]";

/// Messages within messages that are followed; Envoy's own parser stops at 100.
const DEEPEST: usize = 100;

pub(super) const ANY: &str = "google.protobuf.Any";

/// Fields that hold secrets as a rule, though Envoy's files do not mark them: symmetric keys among JWKS, settings of plugins.
const ALSO_SENSITIVE: [&str; 4] = [
    "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.local_jwks",
    "envoy.extensions.wasm.v3.PluginConfig.configuration",
    "envoy.extensions.wasm.v3.VmConfig.configuration",
    "envoy.extensions.wasm.v3.EnvironmentVariables.key_values",
];

/// Messages about a header, with the field that holds its name.
const ABOUT_HEADERS: [(&str, &str); 2] =
    [("envoy.config.core.v3.HeaderValue", "key"), ("envoy.config.route.v3.HeaderMatcher", "name")];

/// Headers that carry credentials.
const CREDENTIALS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "apikey", "api-key"];

/// Parts of names of further such headers, as in `x-api-key` and `x-amz-security-token`.
const CREDENTIAL_PARTS: [&str; 5] = ["api-key", "token", "secret", "password", "credential"];

impl Descriptors {
    /// A packed message for a page: without secrets; its type and its size where it cannot be read.
    #[must_use]
    pub fn show(&self, any: &Any) -> Json {
        let shown =
            self.to_json(any, Secrecy::Redact).or_else(|_| self.to_json(&opaque(any), Secrecy::Redact));
        shown.unwrap_or_default()
    }

    /// Redacts, and replaces packed messages that could not be shown.
    pub(super) fn prepare(&self, message: &mut DynamicMessage, secrecy: Secrecy, depth: usize) {
        if message.descriptor().full_name() == ANY {
            self.prepare_any(message, secrecy, depth);
            return;
        }
        let of_credential = secrecy == Secrecy::Redact && is_about_credential(message);
        for (field, value) in message.fields_mut() {
            let names_it = ABOUT_HEADERS.iter().any(|(_, name)| field.name() == *name);
            if secrecy == Secrecy::Redact && (self.is_sensitive(&field) || (of_credential && !names_it)) {
                redact(value);
            } else {
                self.prepare_value(value, secrecy, depth + 1);
            }
        }
    }

    fn prepare_value(&self, value: &mut Value, secrecy: Secrecy, depth: usize) {
        match value {
            Value::Message(message) => self.prepare(message, secrecy, depth),
            Value::List(list) => {
                list.iter_mut().for_each(|value| self.prepare_value(value, secrecy, depth));
            }
            Value::Map(map) => {
                map.values_mut().for_each(|value| self.prepare_value(value, secrecy, depth));
            }
            _ => {}
        }
    }

    fn prepare_any(&self, any: &mut DynamicMessage, secrecy: Secrecy, depth: usize) {
        let Ok(packed) = any.transcode_to::<Any>() else { return };
        if packed.type_url.is_empty() && packed.value.is_empty() {
            return;
        }
        let inner = self.pool.get_message_by_name(name_of(&packed.type_url));
        let inner = inner.filter(|_| depth < DEEPEST);
        let value = match inner.and_then(|inner| DynamicMessage::decode(inner, &*packed.value).ok()) {
            Some(mut inner) => {
                self.prepare(&mut inner, secrecy, depth + 1);
                Any { type_url: packed.type_url, value: inner.encode_to_vec() }
            }
            None => opaque(&packed),
        };
        // Both are of the same type, so it fits.
        let _ = any.transcode_from(&value);
    }

    fn is_sensitive(&self, field: &FieldDescriptor) -> bool {
        let Some(sensitive) = &self.sensitive else { return true };
        field.options().get_extension(sensitive).as_bool() == Some(true)
            || ALSO_SENSITIVE.contains(&field.full_name())
    }
}

/// Whether a message says something about a header that carries credentials.
fn is_about_credential(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let Some((_, field)) = ABOUT_HEADERS.iter().find(|(about, _)| descriptor.full_name() == *about) else {
        return false;
    };
    let name = message.get_field_by_name(field);
    name.as_deref().and_then(Value::as_str).is_some_and(is_credential)
}

fn is_credential(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    CREDENTIALS.contains(&header.as_str()) || CREDENTIAL_PARTS.iter().any(|part| header.contains(part))
}

/// What is shown of a packed message that cannot be read.
fn opaque(packed: &Any) -> Any {
    let text = |text: String| ProtobufValue { kind: Some(Kind::StringValue(text)) };
    let fields = [
        ("unreadable_type".to_owned(), text(packed.type_url.clone())),
        ("bytes".to_owned(), text(packed.value.len().to_string())),
    ];
    let shown = Struct { fields: fields.into() };
    Any { type_url: Struct::type_url(), value: shown.encode_to_vec() }
}

/// Envoy's way: texts and bytes read `[redacted]`, messages keep their shape, the rest becomes its default.
fn redact(value: &mut Value) {
    match value {
        Value::String(text) => REDACTED.clone_into(text),
        Value::Bytes(bytes) => *bytes = REDACTED.as_bytes().into(),
        Value::Message(message) if message.descriptor().full_name() == ANY => {
            let shown = StringValue { value: REDACTED.to_owned() };
            let shown = Any { type_url: StringValue::type_url(), value: shown.encode_to_vec() };
            // Both are of the same type, so it fits.
            let _ = message.transcode_from(&shown);
        }
        Value::Message(message) => message.fields_mut().for_each(|(_, value)| redact(value)),
        Value::List(list) => list.iter_mut().for_each(redact),
        Value::Map(map) => map.values_mut().for_each(redact),
        Value::Bool(_) => *value = Value::Bool(false),
        Value::I32(_) => *value = Value::I32(0),
        Value::I64(_) => *value = Value::I64(0),
        Value::U32(_) => *value = Value::U32(0),
        Value::U64(_) => *value = Value::U64(0),
        Value::F32(_) => *value = Value::F32(0.0),
        Value::F64(_) => *value = Value::F64(0.0),
        Value::EnumNumber(_) => *value = Value::EnumNumber(0),
    }
}

#[cfg(test)]
mod tests {
    use super::{Descriptors, Secrecy};
    use serde_json::json;

    #[test]
    fn credentials_that_envoy_shows_are_redacted_too() {
        let descriptors = Descriptors::load().unwrap();
        let table = json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "web",
            "request_headers_to_add": [
                {"header": {"key": "Authorization", "value": "Bearer CANARY"}},
                {"header": {"key": "x-tier", "value": "gold"}},
            ],
            "virtual_hosts": [{
                "name": "web",
                "domains": ["*"],
                "routes": [{
                    "match": {
                        "prefix": "/",
                        "headers": [{"name": "x-api-key", "string_match": {"exact": "CANARY"}}],
                    },
                    "typed_per_filter_config": {
                        "wasm": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                            "config": {
                                "configuration": {
                                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                                    "value": "{\"token\": \"CANARY\"}",
                                },
                            },
                        },
                    },
                }],
            }],
        });
        let any = descriptors.from_json(&table).unwrap();
        assert!(descriptors.to_json(&any, Secrecy::Keep).unwrap().to_string().contains("CANARY"));
        let shown = descriptors.to_json(&any, Secrecy::Redact).unwrap();
        assert!(!shown.to_string().contains("CANARY"), "{shown}");
        assert_eq!(shown["request_headers_to_add"][0]["header"]["key"], "Authorization");
        assert_eq!(shown["request_headers_to_add"][1]["header"]["value"], "gold");
        let header = &shown["virtual_hosts"][0]["routes"][0]["match"]["headers"][0];
        assert_eq!(header["string_match"]["exact"], "[redacted]");
    }
}
