// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where two objects differ, as JSON pointers. Pure.

use crds::Drift;
use serde_json::Value;

/// Most differences that are listed for one object.
const LIMIT: usize = 20;
/// Longest value that is quoted, characters.
const VALUE_LIMIT: usize = 120;

/// Where the object `live` differs from `wanted` in what users declare: everything but the server's own bookkeeping.
pub(crate) fn differences(object: &str, wanted: &Value, live: &Value) -> Vec<Drift> {
    let mut found = Vec::new();
    let (Some(wanted), Some(live)) = (wanted.as_object(), live.as_object()) else { return found };
    let keys = wanted.keys().chain(live.keys().filter(|key| !wanted.contains_key(*key)));
    for key in keys.filter(|key| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind")) {
        walk(object, &format!("/{}", escape(key)), wanted.get(key), live.get(key), &mut found);
    }
    for key in ["labels", "annotations"] {
        let part = |object: &serde_json::Map<String, Value>| {
            object.get("metadata").and_then(|m| m.get(key)).cloned()
        };
        walk(object, &format!("/metadata/{key}"), part(wanted).as_ref(), part(live).as_ref(), &mut found);
    }
    found
}

fn walk(object: &str, path: &str, wanted: Option<&Value>, live: Option<&Value>, found: &mut Vec<Drift>) {
    if wanted == live || found.len() >= LIMIT {
        return;
    }
    match (wanted, live) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                walk(object, &format!("{path}/{}", escape(key)), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(object, &format!("{path}/{index}"), Some(a), Some(b), found);
            }
        }
        _ => found.push(Drift {
            kind: object.to_owned(),
            path: path.to_owned(),
            value_in_cluster: quote(live),
            value_in_fleet: quote(wanted),
        }),
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn quote(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.chars().take(VALUE_LIMIT).collect(),
        Some(other) => other.to_string().chars().take(VALUE_LIMIT).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_the_path_and_both_values() {
        let wanted = json!({"metadata": {"labels": {"a/b": "1"}, "resourceVersion": "1"}, "spec": {"c": [{"image": "x"}]}});
        let live = json!({"metadata": {"labels": {"a/b": "2"}, "resourceVersion": "9"}, "spec": {"c": [{"image": "y"}]}, "status": {"z": 1}});
        let found = differences("Deployment n/a", &wanted, &live);
        let paths: Vec<_> = found.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(paths, ["/spec/c/0/image", "/metadata/labels/a~1b"]);
        assert_eq!((found[0].value_in_cluster.as_str(), found[0].value_in_fleet.as_str()), ("y", "x"));
    }

    #[test]
    fn equal_objects_differ_nowhere_and_lists_are_bounded() {
        let one = json!({"spec": {"a": 1}});
        assert!(differences("x", &one, &one).is_empty());
        let many: serde_json::Map<_, _> = (0..100).map(|i| (format!("k{i}"), json!(i))).collect();
        assert_eq!(differences("x", &json!({"spec": many}), &json!({"spec": {}})).len(), 20);
    }
}
