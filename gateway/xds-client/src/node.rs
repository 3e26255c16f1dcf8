// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who the client says it is.

use gateway_xds_api::pb::envoy::config::core::v3::{Locality, Node, node::UserAgentVersionType};
use gateway_xds_api::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;

/// `node.user_agent_name` of our gateway; the server then sends virtual hosts one by one.
pub const GATEWAY_USER_AGENT: &str = "gatefleet-gateway";

/// The node of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// `<cluster>/<namespace>/<pod>`; also the certificate's CN.
    pub id: String,
    /// The fleet, as `<namespace>/<name>`.
    pub cluster: String,
    /// Further facts for people who look at the server.
    pub metadata: serde_json::Map<String, Json>,
    /// Region, zone and sub-zone, where they are known.
    pub locality: Option<[String; 3]>,
}

impl NodeIdentity {
    pub(crate) fn to_node(&self) -> Node {
        Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: Some(structure(&self.metadata)),
            locality: self.locality.clone().map(|[region, zone, sub_zone]| Locality {
                region,
                zone,
                sub_zone,
            }),
            user_agent_name: GATEWAY_USER_AGENT.to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            ..Node::default()
        }
    }
}

fn structure(fields: &serde_json::Map<String, Json>) -> Struct {
    Struct { fields: fields.iter().map(|(name, field)| (name.clone(), value(field))).collect() }
}

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(*truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(list) => Kind::ListValue(ListValue { values: list.iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}
