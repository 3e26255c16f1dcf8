// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Metadata that endpoints carry and routes ask for (`envoy.lb`, `envoy.transport_socket_match`).

use gateway_xds_api::pb::google::protobuf::{Struct, Value, value::Kind};
use std::fmt::Write;

/// The most subsets that one endpoint may be in by one selector.
const MAX_COMBINATIONS: usize = 1024;

/// Names with values, in ascending order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LbMetadata(Box<[(Box<str>, LbValue)]>);

/// A value: two are equal where their messages are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LbValue {
    text: Box<str>,
    items: Box<[Box<str>]>,
}

impl LbValue {
    fn plain(text: &str) -> Self {
        Self { text: text.into(), items: Box::default() }
    }

    /// The value in a canonical form.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The elements of a list in canonical forms; empty for any other value.
    #[must_use]
    pub fn items(&self) -> &[Box<str>] {
        &self.items
    }

    /// The text where it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.text.strip_prefix('"')
    }
}

impl LbMetadata {
    /// From the fields of a message.
    #[must_use]
    pub fn new(fields: Struct) -> Self {
        let mut pairs: Vec<(Box<str>, LbValue)> =
            fields.fields.into_iter().map(|(name, value)| (name.into(), metadata_value(&value))).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        Self(pairs.into())
    }

    /// From names with strings.
    #[must_use]
    pub fn from_strings(pairs: &[(&str, &str)]) -> Self {
        let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let fields = pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        Self::new(Struct { fields })
    }

    /// All names with their values.
    #[must_use]
    pub fn pairs(&self) -> &[(Box<str>, LbValue)] {
        &self.0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LbValue> {
        self.0.binary_search_by(|(key, _)| (**key).cmp(name)).ok().map(|at| &self.0[at].1)
    }

    /// Both together; `over` wins where both have a name.
    #[must_use]
    pub fn merged(&self, over: &Self) -> Self {
        let mut pairs = over.0.to_vec();
        pairs.extend(self.0.iter().filter(|(name, _)| over.get(name).is_none()).cloned());
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        Self(pairs.into())
    }

    /// The part with these names, which are in ascending order; none where one is missing. Lists that stand for each of their elements
    /// give several.
    #[must_use]
    pub fn selected(&self, names: &[Box<str>], list_as_any: bool) -> Vec<Self> {
        let mut found = vec![Vec::new()];
        for name in names {
            let Some(value) = self.get(name) else { return Vec::new() };
            let values: Vec<LbValue> = match list_as_any && !value.items.is_empty() {
                true => value.items.iter().map(|item| LbValue::plain(item)).collect(),
                false => vec![value.clone()],
            };
            found = found
                .iter()
                .flat_map(|pairs| values.iter().map(move |value| (pairs, value)))
                .map(|(pairs, value)| {
                    let mut pairs: Vec<(Box<str>, LbValue)> = pairs.clone();
                    pairs.push((name.clone(), value.clone()));
                    pairs
                })
                .take(MAX_COMBINATIONS)
                .collect();
        }
        found.into_iter().map(|pairs| Self(pairs.into())).collect()
    }

    /// Whether `endpoint` has all of these values.
    #[must_use]
    pub fn is_within(&self, endpoint: &Self, list_as_any: bool) -> bool {
        self.0.iter().all(|(name, wanted)| {
            endpoint
                .get(name)
                .is_some_and(|value| value == wanted || list_as_any && value.items.contains(&wanted.text))
        })
    }
}

fn metadata_value(value: &Value) -> LbValue {
    let items = match &value.kind {
        Some(Kind::ListValue(list)) => list.values.iter().map(|item| canonical(item).into()).collect(),
        _ => Box::default(),
    };
    LbValue { text: canonical(value).into(), items }
}

/// One text for each value. The depth is limited by the decoder of the messages.
fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(&mut out, value);
    out
}

fn write_canonical(out: &mut String, value: &Value) {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => out.push_str("null"),
        Some(Kind::BoolValue(truth)) => out.push_str(if *truth { "true" } else { "false" }),
        // Writing into a String cannot fail.
        Some(Kind::NumberValue(number)) => {
            let _ = write!(out, "{number:?}");
        }
        Some(Kind::StringValue(text)) => {
            out.push('"');
            out.push_str(text);
        }
        Some(Kind::ListValue(list)) => {
            for item in &list.values {
                let item = canonical(item);
                let _ = write!(out, "[{}:{item}", item.len());
            }
            out.push(']');
        }
        Some(Kind::StructValue(fields)) => {
            let mut names: Vec<_> = fields.fields.iter().collect();
            names.sort_by(|a, b| a.0.cmp(b.0));
            for (name, value) in names {
                let value = canonical(value);
                let _ = write!(out, "{{{}:{name}{}:{value}", name.len(), value.len());
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LbMetadata;
    use gateway_xds_api::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.to_owned())) }
    }

    fn metadata(pairs: &[(&str, Value)]) -> LbMetadata {
        let fields = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        LbMetadata::new(Struct { fields })
    }

    #[test]
    fn values_are_compared_whole() {
        let number = Value { kind: Some(Kind::NumberValue(1.0)) };
        let list = Value { kind: Some(Kind::ListValue(ListValue { values: vec![text("a"), text("b")] })) };
        let endpoint = metadata(&[("version", text("1")), ("stage", list)]);
        for (wanted, list_as_any, expected) in [
            (metadata(&[]), false, true),
            (metadata(&[("version", text("1"))]), false, true),
            (metadata(&[("version", number)]), false, false),
            (metadata(&[("version", text("2"))]), false, false),
            (metadata(&[("stage", text("a"))]), false, false),
            (metadata(&[("stage", text("a")), ("version", text("1"))]), true, true),
            (metadata(&[("other", text("a"))]), true, false),
        ] {
            assert_eq!(wanted.is_within(&endpoint, list_as_any), expected, "{wanted:?}");
        }
        let merged = metadata(&[("a", text("1")), ("b", text("1"))]).merged(&metadata(&[("b", text("2"))]));
        assert_eq!(merged, metadata(&[("b", text("2")), ("a", text("1"))]));
        assert_eq!(merged.get("b").and_then(|value| value.as_str()), Some("2"));
    }
}
