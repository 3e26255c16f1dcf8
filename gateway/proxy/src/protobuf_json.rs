// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Between protobuf's Struct, as services speak, and JSON, as filters keep what they learn.

use gateway_xds_api::pb::google::protobuf::{ListValue, Struct, Value as PbValue, value::Kind};
use serde_json::{Map, Number, Value};

/// Deeper values become null: what a service sends must not fill the stack.
const MAX_DEPTH: u32 = 32;

/// A Struct as JSON.
pub(crate) fn to_json(object: Struct) -> Map<String, Value> {
    object_to_json(object, MAX_DEPTH)
}

/// JSON as a Struct.
pub(crate) fn from_json(object: &Map<String, Value>) -> Struct {
    object_from_json(object, MAX_DEPTH)
}

fn object_to_json(object: Struct, depth: u32) -> Map<String, Value> {
    object.fields.into_iter().map(|(name, value)| (name, value_to_json(value, depth))).collect()
}

fn value_to_json(value: PbValue, depth: u32) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => number_to_json(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::StructValue(object)) => Value::Object(object_to_json(object, depth)),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(|value| value_to_json(value, depth)).collect())
        }
    }
}

/// Numbers of a Struct are floating point; whole ones are written without a fraction, as protobuf's JSON does.
#[allow(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn number_to_json(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn object_from_json(object: &Map<String, Value>, depth: u32) -> Struct {
    let fields = object.iter().map(|(name, value)| (name.clone(), value_from_json(value, depth)));
    Struct { fields: fields.collect() }
}

fn value_from_json(value: &Value, depth: u32) -> PbValue {
    let Some(depth) = depth.checked_sub(1) else { return PbValue { kind: Some(Kind::NullValue(0)) } };
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(|value| value_from_json(value, depth)).collect(),
        }),
        Value::Object(object) => Kind::StructValue(object_from_json(object, depth)),
    };
    PbValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::{from_json, to_json};
    use serde_json::json;

    #[test]
    fn values_go_there_and_back() {
        let value = json!({"a": null, "b": true, "c": 3, "d": 1.5, "e": "x", "f": [1, {"g": "h"}]});
        assert_eq!(json!(to_json(from_json(value.as_object().unwrap()))), value);
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(json!(to_json(from_json(deep.as_object().unwrap()))).to_string().contains("null"));
    }
}
