// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who the client says it is.

use gateway_xds_api::pb::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use gateway_xds_api::pb::google::protobuf::{Struct, Value, value::Kind};
use std::collections::BTreeMap;

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
    pub metadata: BTreeMap<String, String>,
}

impl NodeIdentity {
    pub(crate) fn to_node(&self) -> Node {
        let text = |value: &String| Value { kind: Some(Kind::StringValue(value.clone())) };
        let fields = self.metadata.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Node {
            id: self.id.clone(),
            cluster: self.cluster.clone(),
            metadata: Some(Struct { fields }),
            user_agent_name: GATEWAY_USER_AGENT.to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            ..Node::default()
        }
    }
}
