// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Objects in memory that behave as an API server's do: generations, watches, status apart from spec.

use super::{Kind, ObjectEvent, ObjectStream, ObjectsError, Scope};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Group, kind, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Clone, Debug)]
enum RawEvent {
    Upsert(Arc<Value>),
    Delete(Arc<Value>),
    Listed,
}

#[derive(Debug)]
struct Watcher {
    group: String,
    kind: String,
    scope: Scope,
    // A watcher that falls behind holds values that the store shares, so its queue stays small.
    events: mpsc::UnboundedSender<RawEvent>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Key, Arc<Value>>,
    watchers: Vec<Watcher>,
    version: u64,
}

/// A set of objects in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an object as a user would by apply: metadata and spec replaced, status and bookkeeping kept.
    pub(super) fn put(&self, key: Key, mut object: Value) {
        let mut inner = self.inner.lock();
        let before = inner.objects.get(&key).cloned();
        inner.version += 1;
        let version = inner.version;
        let Some(fields) = object.as_object_mut() else { return };
        let changed = before.as_deref().is_none_or(|old| content(old) != content_of(fields));
        let labels_changed = before
            .as_deref()
            .is_none_or(|old| user_metadata(old.get("metadata")) != user_metadata(fields.get("metadata")));
        if !changed && !labels_changed {
            return;
        }
        if let Some(status) = before.as_deref().and_then(|old| old.get("status")) {
            fields.insert("status".into(), status.clone());
        }
        let generation =
            before.as_deref().and_then(|old| old["metadata"]["generation"].as_i64()).unwrap_or(0);
        stamp(fields, &key, before.as_deref(), generation + i64::from(changed), version);
        inner.set(key, object);
    }

    /// Takes an object away.
    pub(super) fn remove(&self, key: &Key) {
        self.inner.lock().unset(key);
    }

    pub(super) fn watch<K: Kind>(&self, scope: Scope) -> ObjectStream<K> {
        let (events, received) = mpsc::unbounded_channel();
        let (group, kind) = (K::group(&()).to_string(), K::kind(&()).to_string());
        let mut inner = self.inner.lock();
        for object in inner.of(&group, &kind, &scope) {
            // The receiver lives in this function: sending cannot fail.
            let _ = events.send(RawEvent::Upsert(object));
        }
        let _ = events.send(RawEvent::Listed);
        inner.watchers.push(Watcher { group, kind, scope, events });
        UnboundedReceiverStream::new(received).map(typed_event).boxed()
    }

    pub(super) fn list<K: Kind>(&self, scope: &Scope) -> Result<Vec<K>, ObjectsError> {
        let inner = self.inner.lock();
        inner.of(&K::group(&()), &K::kind(&()), scope).iter().map(|o| typed(o)).collect()
    }

    pub(super) fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, ObjectsError> {
        let found = self.inner.lock().objects.get(&key::<K>(namespace, name)).cloned();
        found.map(|o| typed(&o)).transpose()
    }

    pub(super) fn apply<K: Kind>(&self, object: &K) -> Result<K, ObjectsError> {
        let (key, mut value) = keyed(object)?;
        if let (Some(before), Some(fields)) = (self.inner.lock().objects.get(&key), value.as_object_mut()) {
            let mut metadata = before["metadata"].clone();
            merge(&mut metadata, fields.get("metadata").unwrap_or(&Value::Null));
            fields.insert("metadata".into(), metadata);
            for (name, old) in before.as_object().into_iter().flatten() {
                fields.entry(name.clone()).or_insert_with(|| old.clone());
            }
        }
        if let Some(fields) = value.as_object_mut() {
            fields.remove("status");
        }
        self.put(key.clone(), value);
        self.collect(&key);
        self.get::<K>(&key.namespace, &key.name).map(|found| found.unwrap_or_else(|| object.clone()))
    }

    pub(super) fn apply_status<K: Kind>(&self, object: &K) -> Result<(), ObjectsError> {
        let (key, value) = keyed(object)?;
        let mut inner = self.inner.lock();
        let Some(before) = inner.objects.get(&key).cloned() else { return Ok(()) };
        let mut after = before.as_ref().clone();
        let mut status = after.get("status").cloned().unwrap_or_else(|| json!({}));
        merge(&mut status, value.get("status").unwrap_or(&Value::Null));
        if after.get("status") == Some(&status) {
            return Ok(());
        }
        after["status"] = status;
        inner.version += 1;
        after["metadata"]["resourceVersion"] = inner.version.to_string().into();
        inner.set(key, after);
        Ok(())
    }

    /// Deletes an object; one with finalizers is marked and goes with its last finalizer.
    pub(super) fn delete<K: Kind>(&self, namespace: &str, name: &str) {
        let key = key::<K>(namespace, name);
        let mut inner = self.inner.lock();
        let Some(object) = inner.objects.get(&key).cloned() else { return };
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if held && object["metadata"]["deletionTimestamp"].is_null() {
            let mut marked = object.as_ref().clone();
            marked["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().to_string().into();
            inner.version += 1;
            marked["metadata"]["resourceVersion"] = inner.version.to_string().into();
            inner.set(key, marked);
        } else if !held {
            inner.unset(&key);
        }
    }

    /// Ends an object that is marked for deletion and has no finalizer left.
    fn collect(&self, key: &Key) {
        let mut inner = self.inner.lock();
        let done = inner.objects.get(key).is_some_and(|o| {
            !o["metadata"]["deletionTimestamp"].is_null()
                && o["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        });
        if done {
            inner.unset(key);
        }
    }
}

impl Inner {
    fn set(&mut self, key: Key, object: Value) {
        let object = Arc::new(object);
        self.tell(&key, &object, RawEvent::Upsert(object.clone()));
        self.objects.insert(key, object);
    }

    fn unset(&mut self, key: &Key) {
        if let Some(object) = self.objects.remove(key) {
            self.tell(key, &object, RawEvent::Delete(object.clone()));
        }
    }

    fn tell(&mut self, key: &Key, object: &Value, event: RawEvent) {
        self.watchers.retain(|watcher| {
            let interested =
                watcher.group == key.group && watcher.kind == key.kind && in_scope(object, &watcher.scope);
            if interested { watcher.events.send(event.clone()).is_ok() } else { !watcher.events.is_closed() }
        });
    }

    fn of(&self, group: &str, kind: &str, scope: &Scope) -> Vec<Arc<Value>> {
        let all = self.objects.iter().filter(|(key, _)| key.group == group && key.kind == kind);
        all.map(|(_, object)| object).filter(|object| in_scope(object, scope)).cloned().collect()
    }
}

fn key<K: Kind>(namespace: &str, name: &str) -> Key {
    Key {
        group: K::group(&()).into(),
        kind: K::kind(&()).into(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn keyed<K: Kind>(object: &K) -> Result<(Key, Value), ObjectsError> {
    let meta = object.meta();
    let key =
        key::<K>(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let shape = |source| ObjectsError::Shape { kind: key.kind.clone(), name: key.name.clone(), source };
    let mut value = serde_json::to_value(object).map_err(shape)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".into(), K::api_version(&()).into());
        fields.insert("kind".into(), K::kind(&()).into());
    }
    Ok((key, value))
}

fn typed<K: Kind>(object: &Value) -> Result<K, ObjectsError> {
    let name = format!("{}/{}", text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    K::deserialize(object).map_err(|source| ObjectsError::Shape { kind: K::kind(&()).into(), name, source })
}

fn typed_event<K: Kind>(event: RawEvent) -> ObjectEvent<K> {
    let convert = |object: Arc<Value>, wrap: fn(Arc<K>) -> ObjectEvent<K>| match typed(&object) {
        Ok(object) => wrap(Arc::new(object)),
        Err(error) => ObjectEvent::Failed(super::kubernetes::chain(&error)),
    };
    match event {
        RawEvent::Upsert(object) => convert(object, ObjectEvent::Upsert),
        RawEvent::Delete(object) => convert(object, ObjectEvent::Delete),
        RawEvent::Listed => ObjectEvent::Listed,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Everything but metadata and status: what a generation counts.
fn content(object: &Value) -> Map<String, Value> {
    content_of(object.as_object().unwrap_or(&Map::new()))
}

fn content_of(fields: &Map<String, Value>) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(k, _)| *k != "metadata" && *k != "status")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// The metadata that users write.
fn user_metadata(metadata: Option<&Value>) -> Value {
    let get = |name: &str| metadata.and_then(|m| m.get(name)).cloned().unwrap_or(Value::Null);
    json!({"labels": get("labels"), "annotations": get("annotations"), "finalizers": get("finalizers")})
}

fn stamp(fields: &mut Map<String, Value>, key: &Key, before: Option<&Value>, generation: i64, version: u64) {
    let old = |name: &str| before.map(|b| b["metadata"][name].clone()).filter(|v| !v.is_null());
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    metadata["name"] = key.name.clone().into();
    if !key.namespace.is_empty() {
        metadata["namespace"] = key.namespace.clone().into();
    }
    metadata["generation"] = generation.into();
    metadata["resourceVersion"] = version.to_string().into();
    metadata["uid"] =
        old("uid").unwrap_or_else(|| format!("{}-{}-{version}", key.kind.to_lowercase(), key.name).into());
    let created = old("creationTimestamp")
        .unwrap_or_else(|| jiff::Timestamp::now().strftime("%FT%TZ").to_string().into());
    metadata["creationTimestamp"] = created;
    for kept in ["deletionTimestamp", "finalizers"] {
        if let (Some(value), true) = (old(kept), metadata[kept].is_null()) {
            metadata[kept] = value;
        } else if metadata[kept].is_null()
            && let Some(map) = metadata.as_object_mut()
        {
            map.remove(kept);
        }
    }
}

/// JSON merge (RFC 7386), with lists of conditions merged by their type as server-side apply does.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if name == "conditions" {
                    merge_conditions(into.entry(name.clone()).or_insert_with(|| json!([])), value);
                } else if value.is_null() {
                    into.remove(name);
                } else {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn merge_conditions(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_array_mut(), from.as_array()) else { return };
    for condition in from {
        match into.iter_mut().find(|c| c["type"] == condition["type"]) {
            Some(slot) => *slot = condition.clone(),
            None => into.push(condition.clone()),
        }
    }
}

fn in_scope(object: &Value, scope: &Scope) -> bool {
    let metadata = &object["metadata"];
    let in_namespace = scope.namespace.as_deref().is_none_or(|n| text(&metadata["namespace"]) == n);
    let labelled = scope.labels.iter().flat_map(|s| s.split(',')).all(|term| match term.split_once('=') {
        Some((name, value)) => text(&metadata["labels"][name.trim()]) == value.trim_start_matches('=').trim(),
        None => !metadata["labels"][term.trim()].is_null(),
    });
    let fields = scope.fields.iter().flat_map(|s| s.split(',')).all(|term| match term.split_once('=') {
        Some(("metadata.name", value)) => text(&metadata["name"]) == value,
        Some((name, value)) => text(&object[name]) == value,
        None => true,
    });
    in_namespace && labelled && fields
}
