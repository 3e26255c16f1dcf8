// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Merging of templates, overrides and pod patches.

use serde_json::{Map, Value};

/// Merges `patch` into `base`: objects field by field, `null` removes a field, lists of objects that all carry a
/// non-empty `name` element by element (new elements last; mounts by `mountPath`), any other value is replaced.
///
/// This is what a strategic merge does to the lists that patches of ours reach: containers, volumes, env, listeners.
pub fn merge_named(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => merge_objects(base, patch),
        (Value::Array(base), Value::Array(patch)) => match merge_key(base, patch) {
            Some(key) => merge_lists(base, patch, key),
            None => *base = patch.iter().map(without_nulls).collect(),
        },
        (base, patch) => *base = without_nulls(patch),
    }
}

fn merge_objects(base: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            base.remove(key);
        } else if let Some(existing) = base.get_mut(key) {
            merge_named(existing, value);
        } else {
            base.insert(key.clone(), without_nulls(value));
        }
    }
}

fn merge_lists(base: &mut Vec<Value>, patch: &[Value], key: &str) {
    for element in patch {
        let delete = element.get("$patch").and_then(Value::as_str) == Some("delete");
        match base.iter().position(|existing| existing[key] == element[key]) {
            Some(position) if delete => {
                base.remove(position);
            }
            Some(position) => merge_named(&mut base[position], element),
            None if delete => {}
            None => base.push(without_nulls(element)),
        }
    }
}

/// What tells the elements of a list apart: several volume mounts may share a name, so their path comes first.
fn merge_key(base: &[Value], patch: &[Value]) -> Option<&'static str> {
    let all_have = |key: &str| {
        let has =
            |element: &Value| element.get(key).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
        base.iter().chain(patch).all(has)
    };
    ["mountPath", "name"].into_iter().find(|key| all_have(key))
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(mut base: Value, patch: Value) -> Value {
        merge_named(&mut base, &patch);
        base
    }

    #[test]
    fn objects_merge_and_null_removes() {
        let result = merged(
            json!({"a": {"b": 1, "c": 2}, "d": 3}),
            json!({"a": {"b": null, "e": {"f": null}}, "d": 4}),
        );
        assert_eq!(result, json!({"a": {"c": 2, "e": {}}, "d": 4}));
    }

    #[test]
    fn named_lists_merge_by_name() {
        let base = json!([{"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}]}, {"name": "b"}]);
        let patch = json!([{"name": "a", "env": [{"name": "L", "value": "2"}]}, {"name": "c"}, {"name": "b", "$patch": "delete"}]);
        let expected = json!([
            {"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}, {"name": "L", "value": "2"}]},
            {"name": "c"},
        ]);
        assert_eq!(merged(base, patch), expected);
    }

    #[test]
    fn other_lists_are_replaced() {
        assert_eq!(merged(json!({"args": ["a", "b"]}), json!({"args": ["c"]})), json!({"args": ["c"]}));
    }
}
