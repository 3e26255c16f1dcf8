// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the client did so far, for operations pages and metrics.

use gateway_xds_api::ResourceType;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::SystemTime;

/// Shared between the client and those who look at it.
#[derive(Debug, Default)]
pub struct ClientStatus {
    view: Mutex<StatusView>,
}

/// The state of the client at one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// A stream is open.
    pub connected: bool,
    /// Streams opened so far.
    pub streams: u64,
    /// Why the last stream ended or could not be opened; none after one was opened.
    pub last_error: Option<String>,
    /// Types, or names of them, that the server said nothing about yet.
    pub waiting_for: Vec<String>,
    /// By type.
    pub types: BTreeMap<String, TypeStatus>,
    /// When an update was last applied, seconds since 1970.
    pub last_update: Option<u64>,
}

/// Counts of one type.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeStatus {
    /// Responses acknowledged.
    pub accepted: u64,
    /// Responses of which something was rejected.
    pub rejected: u64,
    /// Resources held.
    pub resources: u64,
    /// Text of the last rejection; none after a response without one.
    pub last_rejection: Option<String>,
}

impl ClientStatus {
    /// A copy of the state.
    #[must_use]
    pub fn view(&self) -> StatusView {
        self.view.lock().clone()
    }

    pub(crate) fn opened(&self) {
        let mut view = self.view.lock();
        view.connected = true;
        view.streams += 1;
        view.last_error = None;
    }

    pub(crate) fn closed(&self, reason: Option<String>) {
        let mut view = self.view.lock();
        view.connected = false;
        view.last_error = reason;
    }

    pub(crate) fn waiting_for(&self, kinds: &[ResourceType]) {
        self.view.lock().waiting_for = kinds.iter().map(ToString::to_string).collect();
    }

    pub(crate) fn answered(&self, kind: ResourceType, resources: usize, rejection: Option<String>) {
        let mut view = self.view.lock();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        view.last_update = Some(now.as_secs());
        let status = view.types.entry(kind.to_string()).or_default();
        match rejection {
            None => status.accepted += 1,
            Some(_) => status.rejected += 1,
        }
        status.resources = resources as u64;
        status.last_rejection = rejection;
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
