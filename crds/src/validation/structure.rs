// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Structural checks of an object against the schema subset that our definitions use.

use super::Violation;
use regex::Regex;
use serde_json::{Map, Value};

/// Deeper objects than any of our schemas describe are refused.
const MAX_DEPTH: usize = 32;

/// Where `value` does not fit `schema`. Fields that the schema does not know are reported, since the API server would
/// drop them silently.
pub(super) fn violations(schema: &Value, value: &Value) -> Vec<Violation> {
    let mut walk = Walk { found: Vec::new() };
    walk.value(schema, value, "", 0);
    walk.found
}

struct Walk {
    found: Vec<Violation>,
}

impl Walk {
    fn report(&mut self, field: &str, message: impl Into<String>) {
        self.found.push(Violation { field: field.to_owned(), message: message.into() });
    }

    fn value(&mut self, schema: &Value, value: &Value, field: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return self.report(field, "is nested too deeply");
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return match value {
                Value::String(text) => self.text(schema, text, field),
                Value::Number(number) if number.is_i64() => {
                    self.number(schema, number.as_f64().unwrap_or_default(), field)
                }
                _ => self.report(field, "must be a number or text"),
            };
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(map)) => self.object(schema, map, field, depth),
            (Some("array"), Value::Array(list)) => self.array(schema, list, field, depth),
            (Some("string"), Value::String(text)) => self.text(schema, text, field),
            (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.number(schema, number.as_f64().unwrap_or_default(), field);
            }
            (Some("number"), Value::Number(number)) => {
                self.number(schema, number.as_f64().unwrap_or_default(), field)
            }
            (Some("boolean"), Value::Bool(_)) | (None, _) => {}
            (Some(expected), _) => self.report(field, format!("must be of type {expected}")),
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, field: &str, depth: usize) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if map.get(name).is_none_or(Value::is_null) {
                self.report(&join(field, name), "is required");
            }
        }
        let properties = schema["properties"].as_object();
        let additional = schema.get("additionalProperties");
        let open = schema["x-kubernetes-preserve-unknown-fields"] == true
            || (properties.is_none() && additional.is_none());
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let path = join(field, name);
            // The API server itself defines these; definitions only say that they are there.
            let known_to_server =
                field.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
            match properties.and_then(|properties| properties.get(name)).or(additional) {
                Some(schema) => self.value(schema, value, &path, depth + 1),
                None if open || known_to_server => {}
                None => self.report(&path, "is not a field of this kind"),
            }
        }
    }

    fn array(&mut self, schema: &Value, list: &[Value], field: &str, depth: usize) {
        if schema["maxItems"].as_u64().is_some_and(|limit| list.len() as u64 > limit) {
            self.report(field, format!("must have at most {} items", schema["maxItems"]));
        }
        if schema["minItems"].as_u64().is_some_and(|limit| (list.len() as u64) < limit) {
            self.report(field, format!("must have at least {} items", schema["minItems"]));
        }
        for (index, value) in list.iter().enumerate() {
            self.value(&schema["items"], value, &format!("{field}[{index}]"), depth + 1);
        }
    }

    fn text(&mut self, schema: &Value, text: &str, field: &str) {
        let length = text.chars().count() as u64;
        if schema["maxLength"].as_u64().is_some_and(|limit| length > limit) {
            self.report(field, format!("must have at most {} characters", schema["maxLength"]));
        }
        if schema["minLength"].as_u64().is_some_and(|limit| length < limit) {
            self.report(field, format!("must have at least {} characters", schema["minLength"]));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.iter().any(|candidate| candidate == text)
        {
            let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            self.report(field, format!("must be one of {}", words.join(", ")));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
        {
            self.report(field, format!("must match {pattern}"));
        }
    }

    fn number(&mut self, schema: &Value, number: f64, field: &str) {
        if let Some(limit) = schema["minimum"].as_f64().filter(|limit| number < *limit) {
            self.report(field, format!("must be at least {limit}"));
        }
        if let Some(limit) = schema["maximum"].as_f64().filter(|limit| number > *limit) {
            self.report(field, format!("must be at most {limit}"));
        }
    }
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}
