// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The one who applies what arrives, as the client sees it.

use bytes::Bytes;
use gateway_xds_api::ResourceType;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A resource that is new or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsert {
    /// Its name.
    pub name: String,
    /// The version that the server gave it.
    pub version: String,
    /// The packed message.
    pub value: Bytes,
}

/// The changes of one type that one response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Their type.
    pub kind: ResourceType,
    /// The version of all resources of the type that the server named; may be empty.
    pub version: String,
    /// New and changed resources.
    pub upserts: Vec<Upsert>,
    /// Names of resources that are gone; may name some that were never there.
    pub removals: Vec<String>,
}

/// A resource that was not applied; the version before it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name; empty where it has none.
    pub name: String,
    /// Lower-case text that names the field and the remedy.
    pub message: String,
    /// The same version may be good later, as where a plugin could not be fetched: it is asked for again after a while.
    pub transient: bool,
}

impl Rejection {
    /// A rejection of what this version says; only another version can be good.
    #[must_use]
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), transient: false }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// Names wanted of each type that is not subscribed as a whole.
pub type Wanted = BTreeMap<ResourceType, BTreeSet<String>>;

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Resources that were not taken.
    pub rejections: Vec<Rejection>,
    /// Resources by name that are needed from now on.
    pub wanted: Vec<(ResourceType, String)>,
    /// Resources by name that are no longer needed.
    pub unwanted: Vec<(ResourceType, String)>,
}

/// Work that must be done before an update can be applied; resolves to the resources that it rejects.
pub type Preparation = Pin<Box<dyn Future<Output = Vec<Rejection>> + Send>>;

/// Applies updates; called by one task.
pub trait Consumer: Send {
    /// Starts what an update needs beforehand, such as fetching a plugin. Other types' updates go on meanwhile.
    fn prepare(&mut self, update: &Update) -> Option<Preparation> {
        let _ = update;
        None
    }

    /// Applies an update as far as it is good; done when it is in force. Nothing else is read meanwhile.
    fn apply(&mut self, update: Update) -> impl Future<Output = Applied> + Send;

    /// All names that are wanted; asked once, at the start.
    fn wanted(&self) -> Wanted;
}
