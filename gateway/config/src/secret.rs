// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Certificates with keys, and roots of trust (`envoy.extensions.transport_sockets.tls.v3.Secret`).

use crate::SanMatcher;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;

/// A secret, ready for use. Its `Debug` shows no key.
#[derive(Clone)]
pub struct Secret {
    /// Its name.
    pub name: Box<str>,
    /// What it holds.
    pub kind: SecretKind,
    pub(crate) digest: u64,
}

/// What a secret holds.
#[derive(Clone, Debug)]
pub enum SecretKind {
    /// A certificate chain with its key.
    Certificate(Arc<CertifiedKey>),
    /// What peers' certificates are checked against.
    Validation(Arc<Validation>),
}

/// What peers' certificates are checked against.
#[derive(Debug)]
pub struct Validation {
    /// The roots.
    pub roots: Arc<RootCertStore>,
    /// One of these must be in the certificate; empty: any.
    pub names: Box<[SanMatcher]>,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.digest == other.digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}
