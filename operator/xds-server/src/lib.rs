// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Delta and state-of-the-world ADS with per-node subscriptions and an ACK ledger.
//!
//! ```text
//! Publisher::publish(group, form, version, resources)      the relay's serve loop
//!   -> wakes the streams whose subscriptions are touched
//! stream (tonic shell) -> delta | sotw (pure)              one response in flight for each type
//!   -> Ledger: sent, acked, nacked with origin             summaries, events with time stamps
//! ```
//!
//! Invariants:
//! - A stream sees its own group only; the group follows from the peer certificate, never from what the peer says.
//! - A proxy is told of a cluster before anything that refers to it, and of a cluster's end after everything that did.
//! - Resources are encoded once; streams share the bytes.
//! - A group without a snapshot answers nothing: unknown is not empty.

mod delta;
mod group;
mod issuer;
mod ledger;
mod limits;
mod metrics;
mod nack;
mod server;
mod snapshot;
mod sotw;
mod stream;
mod tls;
mod wire;

pub use delta::{Answer, DeltaResponse, DeltaState, Violation};
pub use group::{Form, Group, Groups};
pub use issuer::{AttestError, Attestor, Issuer, PluginError, PluginStore, SharedAuthority, serve_issuer};
pub use ledger::{GroupSummary, Ledger, LedgerEvent, NodeStatus, TypeStatus};
pub use limits::Limits;
pub use metrics::Metrics;
pub use nack::Nack;
pub use server::{Ads, ServeError, serve_ads};
pub use snapshot::{Publisher, Snapshot};
pub use sotw::{SotwResponse, SotwState};
pub use tls::{ServerTls, TlsError};
