// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where a part of the model comes from: the user's object and the rule inside it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of objects that routing configuration is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// gatefleet.dev GatewayFleet.
    GatewayFleet,
    /// gateway.networking.k8s.io GatewayClass.
    GatewayClass,
    /// gateway.networking.k8s.io Gateway.
    Gateway,
    /// gateway.networking.k8s.io HTTPRoute.
    HTTPRoute,
    /// gateway.networking.k8s.io ReferenceGrant.
    ReferenceGrant,
    /// networking.k8s.io Ingress.
    Ingress,
    /// networking.k8s.io IngressClass.
    IngressClass,
    /// core Service.
    Service,
    /// core Secret.
    Secret,
    /// core Namespace.
    Namespace,
}

impl ObjectKind {
    /// The kind as written in YAML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatewayFleet => "GatewayFleet",
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::HTTPRoute => "HTTPRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Service => "Service",
            Self::Secret => "Secret",
            Self::Namespace => "Namespace",
        }
    }
}

/// Names one object of the user. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The object's kind.
    pub kind: ObjectKind,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// Names the object `kind` `namespace/name`.
    #[must_use]
    pub fn new(kind: ObjectKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.as_str(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
        }
    }
}

/// The object and the rule in it (counted from 0) that a part of the model was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The user's object.
    pub object: ObjectRef,
    /// Index of the rule inside the object, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "{} rule {rule}", self.object),
            None => self.object.fmt(f),
        }
    }
}
