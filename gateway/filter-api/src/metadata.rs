// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What filters learn about a request and later ones read: Envoy's dynamic metadata.

use serde_json::{Map, Value};

/// Values by namespace, which is a filter's name most often. Empty, it costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    namespaces: Vec<(Box<str>, Map<String, Value>)>,
}

impl Metadata {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// All values of a namespace.
    #[must_use]
    pub fn get(&self, namespace: &str) -> Option<&Map<String, Value>> {
        self.namespaces.iter().find(|(name, _)| &**name == namespace).map(|(_, values)| values)
    }

    /// The value at a path of keys below a namespace; the namespace as a whole where the path is empty is not a value.
    pub fn value<'a>(&self, namespace: &str, path: impl IntoIterator<Item = &'a str>) -> Option<&Value> {
        let mut path = path.into_iter();
        let first = self.get(namespace)?.get(path.next()?)?;
        path.try_fold(first, |value, key| value.get(key))
    }

    /// Sets one value.
    pub fn set(&mut self, namespace: &str, key: impl Into<String>, value: Value) {
        self.namespace(namespace).insert(key.into(), value);
    }

    /// Adds values to a namespace; those of the same name are replaced.
    pub fn merge(&mut self, namespace: &str, values: Map<String, Value>) {
        self.namespace(namespace).extend(values);
    }

    /// Takes over all that another one has.
    pub fn absorb(&mut self, other: Self) {
        if self.namespaces.is_empty() {
            self.namespaces = other.namespaces;
            return;
        }
        for (namespace, values) in other.namespaces {
            self.merge(&namespace, values);
        }
    }

    /// All namespaces, in the order of their first value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.namespaces.iter().map(|(name, values)| (&**name, values))
    }

    fn namespace(&mut self, namespace: &str) -> &mut Map<String, Value> {
        let at = self.namespaces.iter().position(|(name, _)| &**name == namespace).unwrap_or_else(|| {
            self.namespaces.push((namespace.into(), Map::new()));
            self.namespaces.len() - 1
        });
        &mut self.namespaces[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::Metadata;
    use serde_json::json;

    #[test]
    fn values_are_found_by_namespace_and_path() {
        let mut metadata = Metadata::default();
        metadata.set("jwt", "claims", json!({"sub": "ann", "roles": ["a"]}));
        let mut later = Metadata::default();
        later.set("jwt", "issuer", json!("here"));
        later.set("other", "n", json!(1));
        metadata.absorb(later);
        assert_eq!(metadata.value("jwt", ["claims", "sub"]), Some(&json!("ann")));
        assert_eq!(metadata.value("jwt", ["issuer"]), Some(&json!("here")));
        assert_eq!(metadata.value("other", ["n"]), Some(&json!(1)));
        assert_eq!(metadata.value("jwt", ["claims", "sub", "deeper"]), None);
        assert_eq!(metadata.value("jwt", []), None);
    }
}
