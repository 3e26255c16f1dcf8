// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One message of a configuration dump. What it holds is turned into JSON only while it is written, one resource at a time.

use gateway_xds_api::{Descriptors, masked};
use regex::Regex;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::fmt;

/// Stands for the type of packed resources where masks do not reach into them.
pub(super) const ANY_RESOURCE: &str = "";

/// Makes the JSON of an entry.
pub(super) type Make = Box<dyn Fn(&Descriptors) -> Value>;

/// A message such as `envoy.admin.v3.ClustersConfigDump`.
pub(super) struct Section {
    /// Its full name.
    pub(super) message: &'static str,
    /// Fields that are no lists.
    pub(super) single: Vec<(&'static str, Make)>,
    /// Fields that are lists of messages.
    pub(super) repeated: Vec<List>,
}

/// A field that is a list of messages.
pub(super) struct List {
    pub(super) field: &'static str,
    /// The full name of its messages.
    pub(super) message: &'static str,
    /// The type of the resource that is packed in each.
    pub(super) packed: &'static str,
    pub(super) entries: Vec<Entry>,
}

/// One message of a list.
pub(super) struct Entry {
    /// The resource's name.
    pub(super) name: String,
    pub(super) make: Make,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("message", &self.message).finish_non_exhaustive()
    }
}

impl Section {
    /// Leaves only resources whose name matches.
    pub(super) fn keep(&mut self, names: &Regex) {
        for list in &mut self.repeated {
            list.entries.retain(|entry| names.is_match(&entry.name));
        }
    }
}

/// Scoped routes are rejected, so there is none; Envoy shows the section all the same.
pub(super) fn scoped_routes() -> Section {
    Section { message: "envoy.admin.v3.ScopedRoutesConfigDump", single: Vec::new(), repeated: Vec::new() }
}

/// A section as it is written.
pub(super) struct Written<'a> {
    pub(super) section: &'a Section,
    pub(super) descriptors: &'a Descriptors,
    /// Fields that are shown; none: all.
    pub(super) fields: Option<&'a [&'a str]>,
}

impl Written<'_> {
    fn shows(&self, field: &str) -> bool {
        // A mask may reach into single messages, the lists are whole.
        self.fields.is_none_or(|paths| paths.iter().any(|path| path.split('.').next() == Some(field)))
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("@type", &format!("type.googleapis.com/{}", self.section.message))?;
        for (field, make) in self.section.single.iter().filter(|(field, _)| self.shows(field)) {
            let value = make(self.descriptors);
            let value = match self.fields {
                None => value,
                Some(paths) => masked(&json!({*field: value}), paths)[*field].take(),
            };
            if value != Value::String(String::new()) {
                map.serialize_entry(field, &value)?;
            }
        }
        for list in self.section.repeated.iter().filter(|list| self.shows(list.field)) {
            if !list.entries.is_empty() {
                let descriptors = self.descriptors;
                let entries = || {
                    list.entries.iter().map(|entry| Masked {
                        entry,
                        descriptors,
                        message: None,
                        fields: None,
                    })
                };
                map.serialize_entry(list.field, &Lazily(entries))?;
            }
        }
        map.end()
    }
}

/// An entry as it is written.
pub(super) struct Masked<'a> {
    pub(super) entry: &'a Entry,
    pub(super) descriptors: &'a Descriptors,
    /// Its type, where it stands by itself.
    pub(super) message: Option<&'static str>,
    pub(super) fields: Option<&'a [&'a str]>,
}

impl Serialize for Masked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = (self.entry.make)(self.descriptors);
        if let (Some(message), Value::Object(fields)) = (self.message, &mut value) {
            fields.insert("@type".to_owned(), format!("type.googleapis.com/{message}").into());
        }
        match self.fields {
            None => value.serialize(serializer),
            Some(paths) => masked(&value, paths).serialize(serializer),
        }
    }
}

/// A list whose members are made while it is written.
struct Lazily<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Lazily<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}
