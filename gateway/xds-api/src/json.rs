// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Protobuf's JSON form of Envoy's messages, as Envoy's own pages write it and its files are written.

mod mask;
mod secrecy;

pub use mask::{FieldShape, masked};

use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, ExtensionDescriptor, MessageDescriptor,
    SerializeOptions,
};
use serde_json::Value as Json;

/// Made by `cargo run -p xtask -- descriptors`; compressed, some 20 times smaller.
static PACKED: &[u8] = include_bytes!("../descriptors.bin.zst");

/// The option of fields that hold secrets.
const SENSITIVE: &str = "udpa.annotations.sensitive";

/// What becomes of fields that Envoy's protobuf files mark as sensitive (private keys, passwords, tokens).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// They read `[redacted]`, like in Envoy's `/config_dump`; and so do further ones that Envoy shows (docs/gateway.md).
    Redact,
    /// They are written out; for tests and translations, never for a page.
    Keep,
}

/// The descriptors of all of Envoy's v3 messages.
///
/// Unpacking takes some ten milliseconds and the descriptors some megabytes, given back when the value is dropped: a page
/// that is seldom asked for makes one for each answer.
#[derive(Clone, Debug)]
pub struct Descriptors {
    pool: DescriptorPool,
    sensitive: Option<ExtensionDescriptor>,
}

/// Why a message has no JSON form, or JSON is no message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The descriptors in this binary are damaged.
    #[error("descriptors in this binary cannot be read: {0}")]
    Descriptors(String),
    /// The type is none of Envoy's.
    #[error("no message type {0}: write a type of Envoy's v3 API")]
    UnknownType(String),
    /// There is no `@type` to tell the type.
    #[error("no @type: write type.googleapis.com/ and the message's full name")]
    Untyped,
    /// The bytes are no such message.
    #[error("malformed {0}")]
    Malformed(String, #[source] prost::DecodeError),
    /// The JSON does not fit the message; the reason names the field where it is known.
    #[error("{message}: {reason}")]
    Mismatch {
        /// The message's full name.
        message: String,
        /// What does not fit.
        reason: String,
    },
}

impl Descriptors {
    /// Unpacks the descriptors.
    ///
    /// # Errors
    /// Where the binary is damaged.
    pub fn load() -> Result<Self, JsonError> {
        let set = zstd::decode_all(PACKED).map_err(|error| JsonError::Descriptors(error.to_string()))?;
        let pool = DescriptorPool::decode(set.as_slice())
            .map_err(|error| JsonError::Descriptors(error.to_string()))?;
        let sensitive = pool.get_extension_by_name(SENSITIVE);
        Ok(Self { pool, sensitive })
    }

    /// A packed message as JSON with `@type`, field names as in the protobuf files, defaults left out.
    ///
    /// A message inside that is of an unknown type (a third party's extension) or is malformed is shown by its type and
    /// its size, so that one such filter does not take the page away.
    ///
    /// # Errors
    /// Where the outer type is unknown or its bytes are malformed.
    pub fn to_json(&self, any: &Any, secrecy: Secrecy) -> Result<Json, JsonError> {
        let mut json = self.encoded_to_json(name_of(&any.type_url), &any.value, secrecy)?;
        if let Json::Object(fields) = &mut json {
            fields.insert("@type".to_owned(), Json::String(any.type_url.clone()));
        }
        Ok(json)
    }

    /// A message as JSON without `@type`; see [`Self::to_json`].
    ///
    /// # Errors
    /// Where the type is none of Envoy's.
    pub fn message_to_json<M: Message + Name>(
        &self,
        message: &M,
        secrecy: Secrecy,
    ) -> Result<Json, JsonError> {
        self.encoded_to_json(&M::full_name(), &message.encode_to_vec(), secrecy)
    }

    /// An encoded message of the given type as JSON without `@type`; see [`Self::to_json`].
    ///
    /// # Errors
    /// Where the type is unknown or the bytes are malformed.
    pub fn encoded_to_json(
        &self,
        full_name: &str,
        encoded: &[u8],
        secrecy: Secrecy,
    ) -> Result<Json, JsonError> {
        let descriptor = self.descriptor(full_name)?;
        let malformed = |error| JsonError::Malformed(full_name.to_owned(), error);
        let mut message = DynamicMessage::decode(descriptor, encoded).map_err(malformed)?;
        self.prepare(&mut message, secrecy, 0);
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|error| mismatch(full_name, &error))
    }

    /// Reads JSON with `@type`; field names may be as in the protobuf files or in camel case. An unknown field is an error.
    ///
    /// # Errors
    /// Where the type is unknown or the JSON does not fit it.
    pub fn from_json(&self, json: &Json) -> Result<Any, JsonError> {
        let mut json = json.clone();
        let type_url = match json.as_object_mut().and_then(|fields| fields.remove("@type")) {
            Some(Json::String(type_url)) => type_url,
            _ => return Err(JsonError::Untyped),
        };
        let value = self.encode_json(name_of(&type_url), &json)?;
        Ok(Any { type_url, value })
    }

    /// Reads JSON as the given message.
    ///
    /// # Errors
    /// Where the type is none of Envoy's or the JSON does not fit it.
    pub fn message_from_json<M: Message + Name + Default>(&self, json: &Json) -> Result<M, JsonError> {
        let encoded = self.encode_json(&M::full_name(), json)?;
        M::decode(encoded.as_slice()).map_err(|error| JsonError::Malformed(M::full_name(), error))
    }

    fn encode_json(&self, full_name: &str, json: &Json) -> Result<Vec<u8>, JsonError> {
        let descriptor = self.descriptor(full_name)?;
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message = DynamicMessage::deserialize_with_options(descriptor, json, &options)
            .map_err(|error| mismatch(full_name, &error))?;
        Ok(message.encode_to_vec())
    }

    fn descriptor(&self, full_name: &str) -> Result<MessageDescriptor, JsonError> {
        self.pool.get_message_by_name(full_name).ok_or_else(|| JsonError::UnknownType(full_name.to_owned()))
    }
}

fn name_of(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}

fn mismatch(message: &str, reason: &impl ToString) -> JsonError {
    JsonError::Mismatch { message: message.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{Any, Descriptors, JsonError, Secrecy};
    use envoy_types::pb::envoy::config::listener::v3::Listener;
    use prost::Message;
    use serde_json::{Value, json};

    const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.";

    fn listener() -> Value {
        json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
            "per_connection_buffer_limit_bytes": 1024,
            "filter_chains": [{
                "filters": [{
                    "name": "hcm",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "web",
                        "request_timeout": "1.500s",
                        "codec_type": "HTTP2"
                    }
                }]
            }]
        })
    }

    #[test]
    fn a_listener_comes_back_as_it_was() {
        let descriptors = Descriptors::load().unwrap();
        let any = descriptors.from_json(&listener()).unwrap();
        let decoded = Listener::decode(any.value.as_slice()).unwrap();
        assert_eq!(decoded.per_connection_buffer_limit_bytes.unwrap().value, 1024);
        assert_eq!(descriptors.to_json(&any, Secrecy::Redact).unwrap(), listener());
        let untyped = descriptors.message_to_json(&decoded, Secrecy::Keep).unwrap();
        assert_eq!(untyped["name"], "web");
        assert_eq!(descriptors.message_from_json::<Listener>(&untyped).unwrap(), decoded);
    }

    #[test]
    fn secrets_are_redacted_also_inside_of_any() {
        let descriptors = Descriptors::load().unwrap();
        let secret = json!({
            "@type": format!("{TLS}Secret"),
            "name": "shop",
            "tls_certificate": {
                "certificate_chain": {"inline_string": "CHAIN"},
                "private_key": {"inline_string": "CANARY"}
            }
        });
        let any = descriptors.from_json(&secret).unwrap();
        assert_eq!(descriptors.to_json(&any, Secrecy::Keep).unwrap(), secret);
        let dump = json!({
            "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
            "static_secrets": [{"name": "shop", "secret": secret}]
        });
        let any = descriptors.from_json(&dump).unwrap();
        let shown = descriptors.to_json(&any, Secrecy::Redact).unwrap();
        assert!(!shown.to_string().contains("CANARY"), "{shown}");
        let certificate = &shown["static_secrets"][0]["secret"]["tls_certificate"];
        assert_eq!(certificate["private_key"]["inline_string"], "[redacted]");
        assert_eq!(certificate["certificate_chain"]["inline_string"], "CHAIN");
    }

    #[test]
    fn an_unknown_extension_inside_is_named_and_the_rest_is_shown() {
        let descriptors = Descriptors::load().unwrap();
        let mut decoded: Listener = descriptors
            .message_from_json(&{
                let mut plain = listener();
                plain.as_object_mut().unwrap().remove("@type");
                plain
            })
            .unwrap();
        let filter = &mut decoded.filter_chains[0].filters[0];
        filter.config_type =
            Some(envoy_types::pb::envoy::config::listener::v3::filter::ConfigType::TypedConfig(Any {
                type_url: "type.googleapis.com/stats.PluginConfig".to_owned(),
                value: vec![1, 2, 3],
            }));
        let shown = descriptors.message_to_json(&decoded, Secrecy::Redact).unwrap();
        let filter = &shown["filter_chains"][0]["filters"][0]["typed_config"]["value"];
        assert_eq!(filter["unreadable_type"], "type.googleapis.com/stats.PluginConfig");
        assert_eq!(shown["name"], "web");
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_names() {
        let descriptors = Descriptors::load().unwrap();
        let unknown = descriptors.from_json(&json!({"@type": "type.googleapis.com/no.Such"})).unwrap_err();
        assert!(matches!(unknown, JsonError::UnknownType(name) if name == "no.Such"));
        assert!(matches!(descriptors.from_json(&json!({})).unwrap_err(), JsonError::Untyped));
        let mut wrong = listener();
        wrong["nmae"] = json!("typo");
        let error = descriptors.from_json(&wrong).unwrap_err().to_string();
        assert!(error.contains("envoy.config.listener.v3.Listener") && error.contains("nmae"), "{error}");
        let malformed = Any { type_url: format!("{TLS}Secret"), value: vec![0xff] };
        assert!(matches!(descriptors.to_json(&malformed, Secrecy::Keep), Err(JsonError::Malformed(..))));
    }
}
