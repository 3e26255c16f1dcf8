// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Routing objects to the typed model, with a verdict for each object. Pure.
//!
//! ```text
//!   Change ──► store ──► classes ──► targets (Gateway, fleet) ──► routes (HTTPRoute, Ingress)
//!                │           every read is remembered (view, dependents)        │
//!                └── a fact that changed marks its readers ──────────────┐      ▼
//!                                                                  assembly: one per gateway, part by part
//! ```
//!
//! [`Resolver::apply`] takes changes in; [`Resolver::settle`] resolves what they touch and says which gateways, parts and
//! verdicts differ. A changed route is resolved alone and only the virtual hosts that it contributes to are put together
//! again; parts that are equal keep their allocation.
//!
//! Invariants:
//! - The result depends on the applied objects only, not on the order or number of changes.
//! - No input makes it fail: whatever is wrong becomes a verdict, and the rest is served.
//! - What is not seen (`services_known`, `secrets_known`) is no reason to refuse anything.
//!
//! Difference from Gateway API: virtual hosts are disjoint, as in Envoy. A request that misses every rule of the most
//! specific hostname is answered 404 also where a route of a wider hostname would match.

mod assembly;
mod backends;
mod certificate;
mod checks;
mod dependents;
mod facts;
mod fleet;
mod gateway_api;
mod ingress;
mod object;
mod options;
mod resolver;
mod route;
mod selector;
pub mod status;
mod store;
mod target;
mod view;

pub use assembly::ChangedParts;
pub use certificate::SecretFacts;
pub use gateway_api::SUPPORTED_FEATURES;
pub use object::{Change, Object};
pub use options::ResolverOptions;
pub use resolver::{Resolver, Settled};
pub use status::{StatusChange, StatusValue};
pub use target::GatewayInfo;
