// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where objects are read from and written to: an API server, or a folder of YAML on this machine.
//!
//! Both speak the same verbs, so that every reconciler runs unchanged with and without Kubernetes.

mod defaults;
mod folder;
#[cfg(test)]
mod folder_tests;
mod kubernetes;
mod store;

pub use folder::{FolderProblem, FolderSource};
pub use kubernetes::KubernetesObjects;
pub(crate) use kubernetes::chain;
pub use store::Store;

use futures::stream::BoxStream;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// A kind of object that both sources can serve.
pub trait Kind:
    Resource<DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug + Send + Sync + 'static
{
}

/// Which objects of a kind. Everything unset is everything.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// One namespace only.
    pub namespace: Option<String>,
    /// Label selector as the API server reads it.
    pub labels: Option<String>,
    /// Field selector as the API server reads it; a folder knows `metadata.name` and `type`.
    pub fields: Option<String>,
}

impl Scope {
    /// All objects of a kind.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of one namespace.
    #[must_use]
    pub fn namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    /// Narrows to objects with these labels.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Narrows to objects with these fields.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum ObjectEvent<K> {
    /// The object is new or changed.
    Upsert(Arc<K>),
    /// The object is gone; this is how it looked last.
    Delete(Arc<K>),
    /// Everything that exists has been told once. Before this, absence means nothing.
    Listed,
    /// The source cannot be read now; what was told stays true as far as known.
    Failed(String),
}

/// The events of a watch; it never ends by itself.
pub type ObjectStream<K> = BoxStream<'static, ObjectEvent<K>>;

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The API server refused or could not be reached.
    #[error("{verb} {kind} {name}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The object's kind.
        kind: String,
        /// The object's namespace and name.
        name: String,
        /// What the API server or the connection said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object is not of the shape that its kind asks for.
    #[error("{kind} {name} has a shape that cannot be read")]
    Shape {
        /// The object's kind.
        kind: String,
        /// The object's namespace and name.
        name: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
    /// Someone else changed the object in between; read again and retry.
    #[error("{kind} {name} changed in between")]
    Conflict {
        /// The object's kind.
        kind: String,
        /// The object's namespace and name.
        name: String,
    },
}

/// A source of objects.
#[derive(Clone, Debug)]
pub enum Objects {
    /// A Kubernetes API server.
    Kubernetes(KubernetesObjects),
    /// Objects in memory, filled from a folder.
    Folder(Store),
}

impl Objects {
    /// Follows all objects of a kind in a scope: first those that exist, then `Listed`, then every change.
    #[must_use]
    pub fn watch<K: Kind>(&self, scope: Scope) -> ObjectStream<K> {
        match self {
            Self::Kubernetes(objects) => objects.watch(scope),
            Self::Folder(store) => store.watch(scope),
        }
    }

    /// Reads all objects of a kind in a scope.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn list<K: Kind>(&self, scope: Scope) -> Result<Vec<K>, ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.list(scope).await,
            Self::Folder(store) => store.list(&scope),
        }
    }

    /// Reads one object; `None` where it does not exist. The namespace is empty for cluster-scoped kinds.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.get(namespace, name).await,
            Self::Folder(store) => store.get(namespace, name),
        }
    }

    /// Applies an object's metadata and spec on the server side under a field manager.
    ///
    /// # Errors
    /// Where the source refuses it.
    pub async fn apply<K: Kind>(&self, manager: &str, object: &K) -> Result<K, ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.apply(manager, object).await,
            Self::Folder(store) => store.apply(object),
        }
    }

    /// Applies fields of an object's status on the server side under a field manager; `object` holds identity and status.
    ///
    /// # Errors
    /// Where the source refuses it, or the object does not exist.
    pub async fn apply_status<K: Kind>(&self, manager: &str, object: &K) -> Result<(), ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.apply_status_fields(manager, object, None).await,
            Self::Folder(store) => store.apply_status(object),
        }
    }

    /// Applies some fields of an object's status alone, for writers that share a status and each own a part.
    ///
    /// # Errors
    /// Where the source refuses it, or the object does not exist.
    pub async fn apply_status_fields<K: Kind>(
        &self,
        manager: &str,
        object: &K,
        fields: &[&str],
    ) -> Result<(), ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.apply_status_fields(manager, object, Some(fields)).await,
            Self::Folder(store) => store.apply_status(object),
        }
    }

    /// Replaces an object's status, guarded by its resource version: for statuses whose lists other controllers share
    /// (HTTPRoute `status.parents`).
    ///
    /// # Errors
    /// [`ObjectsError::Conflict`] where the object changed since it was read.
    pub async fn replace_status<K: Kind>(&self, object: &K) -> Result<(), ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.replace_status(object).await,
            Self::Folder(store) => store.apply_status(object),
        }
    }

    /// Deletes an object; that it is gone already is no error.
    ///
    /// # Errors
    /// Where the source refuses it.
    pub async fn delete<K: Kind>(&self, namespace: &str, name: &str) -> Result<(), ObjectsError> {
        match self {
            Self::Kubernetes(objects) => objects.delete::<K>(namespace, name).await,
            Self::Folder(store) => {
                store.delete::<K>(namespace, name);
                Ok(())
            }
        }
    }

    /// The client behind it, where there is an API server.
    #[must_use]
    pub fn client(&self) -> Option<&kube::Client> {
        match self {
            Self::Kubernetes(objects) => Some(objects.client()),
            Self::Folder(_) => None,
        }
    }
}
