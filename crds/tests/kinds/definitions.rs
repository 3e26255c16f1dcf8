// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The definitions as they are installed.

use crds::definitions::{self, Definition};
use serde_json::Value;
use std::path::PathBuf;

#[test]
fn generated_files_are_fresh() {
    for definition in definitions::all() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("generated").join(definition.file_name());
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == definition.yaml().unwrap(),
            "{} is stale: run `cargo run -p xtask -- crds`",
            definition.file_name()
        );
    }
}

#[test]
fn names_and_columns() {
    let expected = [
        ("GatewayFleet", "gf", "Ready Wave Updated Acked Active Desired Age"),
        ("FleetCluster", "fc", "Mode Ready Reachable Version Contact Age"),
        ("FleetMember", "fm", "Cluster Wave Phase Revision Acked Ready Contact"),
        ("FleetRevision", "fr", "Lane Author Verdict Clusters Age"),
    ];
    for (definition, (kind, short, columns)) in definitions::all().iter().zip(expected) {
        let spec = &definition.resource.spec;
        assert_eq!(spec.names.kind, kind);
        assert_eq!(spec.names.short_names.as_deref(), Some([short.to_owned()].as_slice()));
        assert_eq!(spec.names.categories.as_deref(), Some(["gatefleet".to_owned()].as_slice()));
        assert_eq!(spec.scope, "Namespaced");
        let names: Vec<&str> =
            spec.versions[0].additional_printer_columns.iter().flatten().map(|c| c.name.as_str()).collect();
        assert_eq!(names.join(" "), columns);
    }
}

#[test]
fn status_is_never_observed_by_default() {
    for definition in definitions::all() {
        let schema = schema(&definition);
        for path in [
            "/properties/status/default/observedGeneration",
            "/properties/status/properties/observedGeneration/default",
        ] {
            assert_eq!(schema.pointer(path), Some(&Value::from(-1)), "{}", definition.file_name());
        }
    }
}

/// What the API server demands of a structural schema and kube's derive can get wrong.
#[test]
fn schemas_are_structural() {
    for definition in definitions::all() {
        walk(&schema(&definition), definition.file_name());
    }
}

/// Rules run on a default that is not spelt out, and make the definition itself invalid. Status has no rules.
#[test]
fn defaults_of_objects_are_complete() {
    for definition in definitions::all() {
        let mut pending = vec![schema(&definition)["properties"]["spec"].clone()];
        while let Some(node) = pending.pop() {
            if let (Some(Value::Object(default)), Some(fields)) =
                (node.get("default"), node["properties"].as_object())
            {
                for (name, field) in fields {
                    let spelt = default.contains_key(name) || field.get("default").is_none();
                    assert!(spelt, "{}: default leaves out {name}", definition.file_name());
                }
            }
            pending.extend(
                node["properties"].as_object().into_iter().flat_map(|fields| fields.values().cloned()),
            );
            pending.extend(node.get("items").cloned());
        }
    }
}

fn schema(definition: &Definition) -> Value {
    let version = &definition.resource.spec.versions[0];
    let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    serde_json::to_value(schema).unwrap()
}

fn walk(node: &Value, path: String) {
    let open =
        node["x-kubernetes-int-or-string"] == true || node["x-kubernetes-preserve-unknown-fields"] == true;
    assert!(node.get("type").is_some() || open, "{path} has no type");
    for unwanted in ["oneOf", "anyOf", "allOf", "$ref", "nullable", "const"] {
        assert!(node.get(unwanted).is_none(), "{path} has {unwanted}");
    }
    let formats = ["int32", "int64", "date-time", "double"];
    assert!(
        node["format"].as_str().is_none_or(|format| formats.contains(&format)),
        "{path}: format {}",
        node["format"]
    );
    if node["x-kubernetes-validations"].is_array() || path.ends_with("[]") {
        let bounded = node["type"] != "array" || node["maxItems"].is_number();
        assert!(bounded, "{path}: rules on a list without maxItems cost too much");
    }
    for (name, field) in node["properties"].as_object().into_iter().flatten() {
        walk(field, format!("{path}.{name}"));
    }
    for key in ["items", "additionalProperties"] {
        if node[key].is_object() {
            walk(&node[key], format!("{path}.{key}"));
        }
    }
}
