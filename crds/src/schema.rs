// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Schema pieces that several kinds share.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object by name in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A free-form object that the API server keeps as it is.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Any JSON value.
pub(crate) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// `observedGeneration` that says "never seen" until a controller wrote it (kstatus takes a missing status for Current).
pub(crate) fn observed_generation(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "default": -1})
}

/// The schema of `T` as a patch: the same fields, none required, none with a default and without rules, since those hold
/// for the merged result.
pub(crate) fn partial<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value = generator.subschema_for::<T>().to_value();
    loosen(&mut value);
    Schema::try_from(value).unwrap_or_default()
}

/// Removes what holds only for whole objects, at every depth. `properties` maps names to schemas, so a field that is
/// itself called `default` or `required` survives.
fn loosen(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for key in ["default", "required", "x-kubernetes-validations"] {
        map.remove(key);
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(fields)) => fields.values_mut().for_each(loosen),
            ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => branches.iter_mut().for_each(loosen),
            ("items" | "additionalProperties" | "not", value) => loosen(value),
            _ => {}
        }
    }
}
