// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Canonical encoding, hash and chunks of a revision. Pure.
//!
//! ```text
//! gateways -> parts (virtual host, listener, backend, plugin) -> buckets by name hash -> chunks (zstd, named by SHA-256)
//!                                                             -> manifest: lists the buckets' chunks; its hash is the revision's
//! ```
//!
//! Invariants:
//! - The hash follows from content alone: not from the order of construction, the history of a [`Sealer`], or zstd.
//! - One changed part changes one chunk and the manifest.
//! - A chunk stays below [`CHUNK_LIMIT`], so that a Secret can carry it.
//! - What [`Opener::open`] reads is checked against its name and bounded before it is used.

mod chunk;
mod diff;
mod manifest;
mod opener;
mod part;
mod sealer;

pub use chunk::{CHUNK_LIMIT, Chunk};
pub use diff::diff;
pub use opener::{OpenError, Opener};
pub use sealer::{Revision, SealError, Sealer};
