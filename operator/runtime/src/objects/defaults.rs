// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What an API server does to an object before it stores it: checks its shape against the kind's schema, fills defaults in.

use serde_json::Value;
use std::collections::BTreeMap;

/// The kinds that a folder may hold.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    kinds: BTreeMap<(String, String), KindSchema>,
}

#[derive(Debug)]
struct KindSchema {
    namespaced: bool,
    /// OpenAPI schema; `None` for the built-in kinds, which are read as they are.
    schema: Option<Value>,
}

/// Kinds of Kubernetes itself: group, kind, namespaced.
const BUILT_IN: [(&str, &str, bool); 8] = [
    ("", "Service", true),
    ("", "Secret", true),
    ("", "ConfigMap", true),
    ("", "Namespace", false),
    ("discovery.k8s.io", "EndpointSlice", true),
    ("networking.k8s.io", "Ingress", true),
    ("networking.k8s.io", "IngressClass", false),
    ("events.k8s.io", "Event", true),
];

impl Schemas {
    /// The built-in kinds and those of the given CustomResourceDefinitions.
    pub(super) fn new(definitions: impl IntoIterator<Item = Value>) -> Self {
        let mut kinds = BTreeMap::new();
        for (group, kind, namespaced) in BUILT_IN {
            kinds.insert((group.to_owned(), kind.to_owned()), KindSchema { namespaced, schema: None });
        }
        for definition in definitions {
            let spec = &definition["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for version in spec["versions"].as_array().into_iter().flatten() {
                let key = (
                    format!("{}/{}", text(&spec["group"]), text(&version["name"])),
                    text(&spec["names"]["kind"]),
                );
                let schema = Some(version["schema"]["openAPIV3Schema"].clone());
                kinds.insert(key, KindSchema { namespaced: text(&spec["scope"]) == "Namespaced", schema });
            }
        }
        Self { kinds }
    }

    /// Whether objects of this kind live in a namespace; `None` for an unknown kind.
    pub(super) fn namespaced(&self, api_version: &str, kind: &str) -> Option<bool> {
        self.find(api_version, kind).map(|k| k.namespaced)
    }

    /// Fills defaults in and lists what does not fit, each as `path: reason`.
    pub(super) fn admit(&self, api_version: &str, kind: &str, object: &mut Value) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(KindSchema { schema: Some(schema), .. }) = self.find(api_version, kind) {
            fill(schema, object);
            if let (Some(fields), Some(properties)) = (object.as_object(), schema["properties"].as_object()) {
                for (name, value) in fields
                    .iter()
                    .filter(|(n, _)| !matches!(n.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
                {
                    match properties.get(name) {
                        Some(schema) => check(schema, value, name, &mut problems),
                        None => problems.push(format!("{name}: unknown field")),
                    }
                }
            }
        }
        problems
    }

    fn find(&self, api_version: &str, kind: &str) -> Option<&KindSchema> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let exact = self.kinds.get(&(api_version.to_owned(), kind.to_owned()));
        exact.or_else(|| self.kinds.get(&(group.to_owned(), kind.to_owned())))
    }
}

/// Fills defaults of a structural schema into the parts of a value that are there.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = schema.get("default")
                    && !fields.contains_key(name)
                    && name != "status"
                {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    fill(schema, value);
                }
            }
            if let Some(schema) = schema.get("additionalProperties").filter(|s| s.is_object()) {
                fields.values_mut().for_each(|value| fill(schema, value));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// Types, required and unknown fields, enumerations.
fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    if value.is_null() && schema["nullable"].as_bool() == Some(true) {
        return;
    }
    if schema["x-kubernetes-int-or-string"].as_bool() == Some(true) {
        if !value.is_string() && !value.is_i64() {
            problems.push(format!("{path}: must be a number or a text"));
        }
        return;
    }
    if let Some(expected) = schema["type"].as_str()
        && !has_type(value, expected)
    {
        problems.push(format!("{path}: must be of type {expected}"));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<_> =
            allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        problems.push(format!("{path}: must be one of {}", allowed.join(", ")));
    }
    match value {
        Value::Object(fields) => check_fields(schema, fields, path, problems),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{i}]"), problems);
            }
        }
        _ => {}
    }
}

fn check_fields(
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
    path: &str,
    problems: &mut Vec<String>,
) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            problems.push(format!("{path}.{name}: required"));
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"].as_bool() == Some(true);
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match schema["properties"].get(name) {
            Some(schema) => check(schema, value, &path, problems),
            None if schema["additionalProperties"].is_object() => {
                check(&schema["additionalProperties"], value, &path, problems);
            }
            None if open || schema["additionalProperties"].as_bool() == Some(true) => {}
            None => problems.push(format!("{path}: unknown field")),
        }
    }
}

fn has_type(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::Schemas;
    use serde_json::json;

    fn schemas() -> Schemas {
        Schemas::new([
            json!({"spec": {"group": "x.dev", "scope": "Namespaced", "names": {"kind": "Box"}, "versions": [{
            "name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                "required": ["size"], "properties": {
                    "size": {"type": "integer"},
                    "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                    "lids": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}}
            }}}}}}]}}),
        ])
    }

    #[test]
    fn defaults_reach_into_lists() {
        let mut object = json!({"spec": {"size": 1, "lids": [{}]}});
        assert_eq!(schemas().admit("x.dev/v1", "Box", &mut object), Vec::<String>::new());
        assert_eq!(object, json!({"spec": {"size": 1, "colour": "red", "lids": [{"n": 1}]}}));
    }

    #[test]
    fn problems_name_the_field() {
        let mut object = json!({"apiVersion": "x.dev/v1", "kind": "Box", "spec": {"colour": "green", "lids": [{"n": "x"}], "weight": 2}});
        let problems = schemas().admit("x.dev/v1", "Box", &mut object);
        assert_eq!(
            problems,
            [
                "spec.size: required",
                "spec.colour: must be one of red, blue",
                "spec.lids[0].n: must be of type integer",
                "spec.weight: unknown field"
            ]
        );
    }
}
