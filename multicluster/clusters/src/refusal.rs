// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Why credentials are not used: the object, the field and the remedy.

use std::fmt;

/// Credentials that we do not use. Its text is for the user: it names the object, the field, the problem and the remedy,
/// and never holds a value of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The object, as `Secret fleet/member-a`.
    pub object: String,
    /// The field within it, as `value: users[admin].exec`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
    /// The object is not there at all: credentials that it once held are used no longer.
    pub absent: bool,
}

impl Refusal {
    pub(crate) fn new(
        object: &str,
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            object: object.to_owned(),
            field: field.into(),
            problem: problem.into(),
            remedy,
            absent: false,
        }
    }

    /// The object is not there.
    #[must_use]
    pub fn absent(object: &str, field: impl Into<String>, remedy: &'static str) -> Self {
        Self { absent: true, ..Self::new(object, field, "does not exist", remedy) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, field {}: {}; {}", self.object, self.field, self.problem, self.remedy)
    }
}
