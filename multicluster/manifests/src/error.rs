// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Why objects could not be made.

use crds::validation::Violation;

/// Why objects could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// An override does not merge to a valid template (condition reason `OverrideInvalid`).
    #[error("override {name} does not merge to a valid template: {violation}")]
    OverrideInvalid {
        /// `spec.overrides[].name`.
        name: String,
        /// The first rule that it breaks.
        violation: Violation,
    },
    /// A patch of an override does not fit the object (condition reason `OverrideInvalid`).
    #[error(
        "override {name}: patch of {target} at {path} does not apply to {object}; check the path and the operation"
    )]
    PatchInvalid {
        /// `spec.overrides[].name`.
        name: String,
        /// `patches[].target`.
        target: String,
        /// `patches[].path`.
        path: String,
        /// The object that it was applied to.
        object: String,
        /// What JSON Patch says.
        #[source]
        source: Box<json_patch::PatchError>,
    },
    /// A patch that adds or replaces brings nothing (condition reason `OverrideInvalid`).
    #[error("override {name}: patch of {target} at {path} has no value; add one, or use op: remove")]
    PatchWithoutValue {
        /// `spec.overrides[].name`.
        name: String,
        /// `patches[].target`.
        target: String,
        /// `patches[].path`.
        path: String,
    },
    /// `template.podPatch` does not merge to a valid pod template.
    #[error(
        "template.podPatch does not merge to a valid pod template for {object}; check names and types of its fields"
    )]
    PodPatchInvalid {
        /// The Deployment.
        object: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// An object could not be written as JSON.
    #[error("cannot encode {object}")]
    Encode {
        /// The object.
        object: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl ManifestError {
    /// The override that is to blame.
    #[must_use]
    pub fn override_name(&self) -> Option<&str> {
        match self {
            Self::OverrideInvalid { name, .. }
            | Self::PatchInvalid { name, .. }
            | Self::PatchWithoutValue { name, .. } => Some(name),
            Self::PodPatchInvalid { .. } | Self::Encode { .. } => None,
        }
    }
}
