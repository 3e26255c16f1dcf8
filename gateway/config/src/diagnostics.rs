// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is wrong with a resource: rejections and warnings as values that name the resource and the field.

use std::fmt;

/// A resource that is not applied; the version before it keeps serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name; empty where its bytes did not even give one.
    pub name: String,
    /// Lower-case text that names the field and the remedy.
    pub message: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// A field of an applied resource that has no effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The resource's name.
    pub name: String,
    /// Lower-case text that names the field.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}
