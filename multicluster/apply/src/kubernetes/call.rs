// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Calls with a time limit.

use crate::{ApplyError, ObjectKey};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use std::future::Future;
use std::time::Duration;

/// A client and the limit for each of its calls.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    timeout: Duration,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What a call came to, as far as the request is concerned: an outage is an [`ApplyError`].
pub(crate) type Answer<T> = Result<T, Box<kube::Error>>;

impl Caller {
    pub(crate) fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A call whose refusal is part of the work.
    pub(crate) async fn answer<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Answer<T>, ApplyError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(error)) if is_outage(&error) => {
                Err(ApplyError::Unavailable { what, source: Some(Box::new(error)) })
            }
            Ok(Err(error)) => Ok(Err(Box::new(error))),
            Err(_) => Err(ApplyError::Unavailable { what, source: None }),
        }
    }

    /// A call that must not be refused.
    pub(crate) async fn run<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError> {
        self.answer(what, call).await?.map_err(|source| ApplyError::Refused { what, source })
    }

    /// The interface to the kind of an object, in its namespace.
    pub(crate) fn api(&self, key: &ObjectKey) -> Api<DynamicObject> {
        let (group, version) = key.api_version.split_once('/').unwrap_or(("", &key.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &key.kind));
        if key.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource)
        }
    }
}

/// Whether an error tells of the API server, not of the request.
fn is_outage(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 401 || status.code == 429 || status.code >= 500,
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// What the server says, in words.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// The code of the server's answer, 0 where it gave none.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}
