// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Metadata from the configuration, for later filters, rate limits and logs.

use gateway_config::{MetadataEntry, SetMetadata};
use gateway_filter_api::{FilterContext, HttpFilter, Outcome};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Sets the metadata of one request.
#[derive(Debug)]
pub(crate) struct Set(pub(crate) Arc<SetMetadata>);

impl HttpFilter for Set {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        for MetadataEntry { namespace, overwrite, values } in &self.0.0 {
            match context.metadata.get(namespace) {
                None => context.metadata.merge(namespace, values.clone()),
                Some(before) if *overwrite => {
                    let mut all = before.clone();
                    join(&mut all, values);
                    context.metadata.merge(namespace, all);
                }
                Some(_) => {}
            }
        }
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        true
    }
}

/// Objects are joined, lists get longer, all else is replaced (Envoy, `StructUtil::update`).
fn join(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => join(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => into.extend(from.iter().cloned()),
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::join;
    use serde_json::json;

    #[test]
    fn values_are_joined() {
        let mut into = json!({"a": 1, "b": {"c": [1], "d": true}, "e": [1]});
        let from = json!({"a": 2, "b": {"c": [2], "f": null}, "e": "text"});
        join(into.as_object_mut().unwrap(), from.as_object().unwrap());
        assert_eq!(into, json!({"a": 2, "b": {"c": [1, 2], "d": true, "f": null}, "e": "text"}));
    }
}
