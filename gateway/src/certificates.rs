// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Secrets without their content.

use crate::process::Shared;
use gateway_config::SecretKind;
use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A secret without its content.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub(crate) enum SecretView {
    /// A certificate chain; its key is not shown.
    #[serde(rename_all = "camelCase")]
    Certificate {
        /// The secret's name.
        name: String,
        /// The leaf's subject.
        subject: Option<String>,
        /// The leaf's names.
        names: Option<String>,
        /// End of its life.
        not_after: Option<String>,
        /// Certificates in the chain.
        chain_length: usize,
    },
    /// Roots.
    #[serde(rename_all = "camelCase")]
    Validation {
        /// The secret's name.
        name: String,
        /// How many roots.
        roots: usize,
    },
    /// Bytes that filters use.
    Generic {
        /// The secret's name.
        name: String,
    },
}

/// All secrets, described.
pub(crate) fn secrets(shared: &Shared) -> Vec<SecretView> {
    let snapshot = shared.store.lock().snapshot().clone();
    let mut secrets: Vec<_> = snapshot.secrets.iter().collect();
    secrets.sort_by_key(|(name, _)| *name);
    secrets.into_iter().map(|(name, secret)| describe(name, &secret.kind)).collect()
}

fn describe(name: &str, kind: &SecretKind) -> SecretView {
    let name = name.to_owned();
    match kind {
        SecretKind::Validation(validation) => SecretView::Validation { name, roots: validation.roots.len() },
        SecretKind::Generic(_) => SecretView::Generic { name },
        SecretKind::Certificate(key) => {
            let leaf =
                key.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok()).map(|(_, leaf)| leaf);
            let names =
                leaf.as_ref().and_then(|leaf| leaf.subject_alternative_name().ok().flatten()).map(|names| {
                    names.value.general_names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                });
            SecretView::Certificate {
                name,
                subject: leaf.as_ref().map(|leaf| leaf.subject().to_string()),
                names,
                not_after: leaf.as_ref().map(|leaf| leaf.validity().not_after.to_string()),
                chain_length: key.cert.len(),
            }
        }
    }
}
