// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The rules of our kinds, checked without an API server: for objects from a folder and for merged overrides.
//!
//! The same generated schema is read here and by the API server: structure (types, limits, patterns, unknown fields) by
//! this module, CEL rules by `kube-cel`.

mod structure;

use crate::{GatewayFleet, definitions};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;
use std::fmt;

/// A rule that an object breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as `spec.template.listeners[0].tls`.
    pub field: String,
    /// What is wrong and how to put it right.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// Checks objects of one kind. Holds the compiled rules, so keep one for many objects.
pub struct Checker {
    schema: Value,
    rules: kube_cel::CompiledSchema,
    evaluator: kube_cel::Validator,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Checker {
    /// A checker for a definition's first version.
    #[must_use]
    pub fn new(definition: &CustomResourceDefinition) -> Self {
        let version = definition.spec.versions.first();
        let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
        let schema = schema.and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
        let rules = kube_cel::compile_schema(&schema);
        Self { schema, rules, evaluator: kube_cel::Validator::new() }
    }

    /// A checker for GatewayFleets.
    #[must_use]
    pub fn gateway_fleet() -> Self {
        Self::new(&definitions::prepare(GatewayFleet::crd()))
    }

    /// The rules that `object` breaks; with `old` also those that compare (immutable fields). Rules are evaluated only
    /// on objects of the right structure.
    #[must_use]
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Violation> {
        let violations = structure::violations(&self.schema, object);
        if !violations.is_empty() {
            return violations;
        }
        let Err(errors) = self.evaluator.validate_compiled(&self.rules, object, old) else {
            return Vec::new();
        };
        let violation = |error: &kube_cel::ValidationError| Violation {
            field: error.field_path.clone(),
            message: error.message.clone(),
        };
        errors.as_slice().iter().map(violation).collect()
    }
}
