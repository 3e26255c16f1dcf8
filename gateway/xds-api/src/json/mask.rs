// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Field masks (`google.protobuf.FieldMask`) on the JSON form of messages.

use super::Descriptors;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

/// What a message's field holds, as far as masks and `/config_dump?resource=` care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldShape {
    /// A list of messages.
    Repeated,
    /// Anything else.
    Single,
}

impl Descriptors {
    /// The shape of a message's field; none where there is no such field or message.
    #[must_use]
    pub fn field_shape(&self, message: &str, field: &str) -> Option<FieldShape> {
        let field = self.pool.get_message_by_name(message)?.get_field_by_name(field)?;
        let repeated = field.is_list() && matches!(field.kind(), Kind::Message(_));
        Some(if repeated { FieldShape::Repeated } else { FieldShape::Single })
    }

    /// Whether a path of a mask names a field of the message. Only single messages have further fields; `packed` is the type of those
    /// that are packed in an `Any`.
    #[must_use]
    pub fn mask_fits(&self, message: &str, path: &str, packed: &str) -> bool {
        let found = self.pool.get_message_by_name(message);
        found.is_some_and(|message| self.path_fits(message, path, packed))
    }

    fn path_fits(&self, message: MessageDescriptor, path: &str, packed: &str) -> bool {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Some(field) = message.get_field_by_name(name) else { return false };
        let Some(rest) = rest else { return true };
        match field.kind() {
            _ if field.is_list() || field.is_map() => false,
            Kind::Message(inner) if inner.full_name() == super::secrecy::ANY => {
                self.mask_fits(packed, rest, "")
            }
            Kind::Message(inner) => self.path_fits(inner, rest, packed),
            _ => false,
        }
    }
}

/// What the paths of a mask leave of a message. The type of a packed message stays.
#[must_use]
pub fn masked(json: &Json, paths: &[&str]) -> Json {
    let Json::Object(fields) = json else { return json.clone() };
    let mut kept = Map::new();
    if let Some(kind) = fields.get("@type") {
        kept.insert("@type".to_owned(), kind.clone());
    }
    for (name, value) in fields {
        let mut below = Vec::new();
        let mut whole = false;
        for path in paths {
            match path.strip_prefix(name.as_str()) {
                Some("") => whole = true,
                Some(rest) => below.extend(rest.strip_prefix('.')),
                None => {}
            }
        }
        if whole {
            kept.insert(name.clone(), value.clone());
        } else if !below.is_empty() {
            kept.insert(name.clone(), masked(value, &below));
        }
    }
    Json::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::{Descriptors, FieldShape, masked};
    use serde_json::json;

    const DUMP: &str = "envoy.admin.v3.ClustersConfigDump";
    const DYNAMIC: &str = "envoy.admin.v3.ClustersConfigDump.DynamicCluster";
    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

    #[test]
    fn paths_fit_fields_that_exist() {
        let descriptors = Descriptors::load().unwrap();
        for (message, path, fits) in [
            (DUMP, "version_info", true),
            (DUMP, "dynamic_active_clusters", true),
            (DUMP, "dynamic_active_clusters.cluster", false),
            (DUMP, "nothing", false),
            (DYNAMIC, "cluster.name", true),
            (DYNAMIC, "cluster.circuit_breakers.thresholds", true),
            (DYNAMIC, "cluster.nothing", false),
            (DYNAMIC, "version_info.name", false),
            (DYNAMIC, "error_state.details", true),
        ] {
            assert_eq!(descriptors.mask_fits(message, path, CLUSTER), fits, "{message} {path}");
        }
        let shape = |field| descriptors.field_shape(DUMP, field);
        assert_eq!(shape("dynamic_active_clusters"), Some(FieldShape::Repeated));
        assert_eq!(shape("version_info"), Some(FieldShape::Single));
        assert_eq!(shape("bootstrap"), None);
    }

    #[test]
    fn a_mask_keeps_what_it_names_and_the_type() {
        let message = json!({
            "version_info": "7",
            "cluster": {"@type": "t", "name": "a", "connect_timeout": "1s", "name_too": 1},
            "last_updated": "now",
        });
        assert_eq!(
            masked(&message, &["cluster.name", "last_updated"]),
            json!({"cluster": {"@type": "t", "name": "a"}, "last_updated": "now"})
        );
        assert_eq!(masked(&message, &["cluster"])["cluster"], message["cluster"]);
        assert_eq!(masked(&message, &["clus"]), json!({}));
    }
}
