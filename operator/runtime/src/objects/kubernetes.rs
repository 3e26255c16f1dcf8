// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Objects of an API server.

use super::{Kind, ObjectEvent, ObjectStream, ObjectsError, Scope};
use futures::{StreamExt, stream};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::discovery::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Shortest and longest wait between tries of a watch that fails.
const WATCH_BACKOFF_MIN: Duration = Duration::from_millis(200);
const WATCH_BACKOFF_MAX: Duration = Duration::from_secs(15);

/// Reads and writes the objects of one API server.
#[derive(Clone)]
pub struct KubernetesObjects {
    client: Client,
}

impl std::fmt::Debug for KubernetesObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KubernetesObjects")
    }
}

/// What a watch remembers to turn a fresh list into differences.
struct Known<K> {
    objects: BTreeMap<(String, String), Arc<K>>,
    listing: Option<BTreeMap<(String, String), Arc<K>>>,
}

impl KubernetesObjects {
    /// Uses a client as it is.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn watch<K: Kind>(&self, scope: Scope) -> ObjectStream<K> {
        let config = watcher::Config {
            label_selector: scope.labels,
            field_selector: scope.fields,
            ..watcher::Config::default()
        };
        // Watched untyped, so that an object of an unforeseen shape is left out alone instead of breaking the whole list.
        let api = self.dynamic::<K>(scope.namespace.as_deref().unwrap_or_default());
        let known = Known { objects: BTreeMap::new(), listing: None };
        let events = Box::pin(watcher(api, config));
        stream::unfold((events, known, Duration::ZERO), move |(mut events, mut known, mut wait)| async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let out = match events.next().await? {
                Ok(event) => {
                    // A list that began may still fail: only its end, or a change, shows that the watch works.
                    if !matches!(event, Event::Init) {
                        wait = Duration::ZERO;
                    }
                    known.take(event)
                }
                Err(error) => {
                    wait = (wait * 2).clamp(WATCH_BACKOFF_MIN, WATCH_BACKOFF_MAX);
                    vec![ObjectEvent::Failed(format!("{}: {}", K::kind(&()), chain(&error)))]
                }
            };
            Some((stream::iter(out), (events, known, wait)))
        })
        .flatten()
        .boxed()
    }

    pub(super) async fn list<K: Kind>(&self, scope: Scope) -> Result<Vec<K>, ObjectsError> {
        let params = ListParams {
            label_selector: scope.labels,
            field_selector: scope.fields,
            ..ListParams::default()
        };
        let api = self.dynamic::<K>(scope.namespace.as_deref().unwrap_or_default());
        let list = api.list(&params).await.map_err(|e| api_error::<K>("list", "", "", e))?;
        list.items.into_iter().map(typed).collect()
    }

    pub(super) async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, ObjectsError> {
        let found = self.dynamic::<K>(namespace).get_opt(name).await;
        found.map_err(|e| api_error::<K>("get", namespace, name, e))?.map(typed).transpose()
    }

    pub(super) async fn apply<K: Kind>(&self, manager: &str, object: &K) -> Result<K, ObjectsError> {
        let (namespace, name) = names(object);
        let mut body = applied::<K>(object)?;
        if let Value::Object(fields) = &mut body {
            fields.remove("status");
        }
        let params = PatchParams::apply(manager).force();
        let done = self.dynamic::<K>(&namespace).patch(&name, &params, &Patch::Apply(&body)).await;
        typed(done.map_err(|e| api_error::<K>("apply", &namespace, &name, e))?)
    }

    /// All of the status, or of its fields only those that are named.
    pub(super) async fn apply_status_fields<K: Kind>(
        &self,
        manager: &str,
        object: &K,
        only: Option<&[&str]>,
    ) -> Result<(), ObjectsError> {
        let (namespace, name) = names(object);
        let mut body = applied::<K>(object)?;
        if let Value::Object(fields) = &mut body {
            fields.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            fields.insert(
                "metadata".into(),
                serde_json::json!({"name": name, "namespace": object.namespace()}),
            );
        }
        if let (Some(only), Some(status)) = (only, body.get_mut("status").and_then(Value::as_object_mut)) {
            status.retain(|field, _| only.contains(&field.as_str()));
        }
        let params = PatchParams::apply(manager).force();
        let done = self.dynamic::<K>(&namespace).patch_status(&name, &params, &Patch::Apply(&body)).await;
        done.map(|_| ()).map_err(|e| api_error::<K>("apply the status of", &namespace, &name, e))
    }

    pub(super) async fn replace_status<K: Kind>(&self, object: &K) -> Result<(), ObjectsError> {
        let (namespace, name) = names(object);
        let body: DynamicObject = serde_json::from_value(applied::<K>(object)?)
            .map_err(|e| ObjectsError::Shape { kind: K::kind(&()).into(), name: name.clone(), source: e })?;
        let done = self.dynamic::<K>(&namespace).replace_status(&name, &PostParams::default(), &body).await;
        done.map(|_| ()).map_err(|e| api_error::<K>("replace the status of", &namespace, &name, e))
    }

    pub(super) async fn delete<K: Kind>(&self, namespace: &str, name: &str) -> Result<(), ObjectsError> {
        match self.dynamic::<K>(namespace).delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(api_error::<K>("delete", namespace, name, error)),
        }
    }

    fn dynamic<K: Kind>(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }
}

impl<K: Kind> Known<K> {
    fn take(&mut self, event: Event<DynamicObject>) -> Vec<ObjectEvent<K>> {
        match event {
            Event::Apply(object) => vec![self.upsert(object)],
            Event::Delete(object) => {
                let last = self.objects.remove(&dynamic_names(&object));
                last.or_else(|| typed(object).ok().map(Arc::new))
                    .map(ObjectEvent::Delete)
                    .into_iter()
                    .collect()
            }
            Event::Init => {
                // A list that failed half way has put nothing back yet.
                let half = self.listing.take().unwrap_or_default();
                self.listing = Some(half.into_iter().chain(std::mem::take(&mut self.objects)).collect());
                Vec::new()
            }
            Event::InitApply(object) => {
                let before =
                    self.listing.as_mut().and_then(|listing| listing.remove(&dynamic_names(&object)));
                let version = object.resource_version();
                if let Some(old) = before.filter(|old| version.is_some() && old.resource_version() == version)
                {
                    self.objects.insert(names(old.as_ref()), old);
                    return Vec::new();
                }
                vec![self.upsert(object)]
            }
            Event::InitDone => {
                let gone = self.listing.take().unwrap_or_default();
                gone.into_values().map(ObjectEvent::Delete).chain([ObjectEvent::Listed]).collect()
            }
        }
    }

    fn upsert(&mut self, mut object: DynamicObject) -> ObjectEvent<K> {
        // Nobody reads it here, and it is often the larger half of an object.
        object.metadata.managed_fields = None;
        match typed::<K>(object) {
            Ok(object) => {
                let object = Arc::new(object);
                self.objects.insert(names(object.as_ref()), object.clone());
                ObjectEvent::Upsert(object)
            }
            Err(error) => ObjectEvent::Failed(chain(&error)),
        }
    }
}

fn dynamic_names(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn names<K: Kind>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// An object as a server-side apply body: type set, bookkeeping of the server left out.
fn applied<K: Kind>(object: &K) -> Result<Value, ObjectsError> {
    let mut body = serde_json::to_value(object).map_err(|source| ObjectsError::Shape {
        kind: K::kind(&()).into(),
        name: object.name_any(),
        source,
    })?;
    if let Value::Object(fields) = &mut body {
        fields.insert("apiVersion".into(), K::api_version(&()).into());
        fields.insert("kind".into(), K::kind(&()).into());
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(body)
}

fn typed<K: Kind>(object: DynamicObject) -> Result<K, ObjectsError> {
    let name = object.name_any();
    let shape = |source| ObjectsError::Shape { kind: K::kind(&()).into(), name: name.clone(), source };
    serde_json::to_value(object).and_then(serde_json::from_value).map_err(shape)
}

fn api_error<K: Kind>(verb: &'static str, namespace: &str, name: &str, error: kube::Error) -> ObjectsError {
    let kind = K::kind(&()).to_string();
    let name = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    match error {
        kube::Error::Api(status) if status.code == 409 && verb.starts_with("replace") => {
            ObjectsError::Conflict { kind, name }
        }
        source => ObjectsError::Api { verb, kind, name, source: Box::new(source) },
    }
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
        let line = match boxed.or_else(|| error.downcast_ref()) {
            // kube appends the whole answer in debug form.
            Some(kube::Error::Api(status)) => status.to_string(),
            _ => error.to_string(),
        };
        // Some libraries repeat their cause in their own text.
        if !text.contains(&line) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&line);
        }
        next = error.source();
    }
    text
}
