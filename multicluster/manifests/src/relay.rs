// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay of a cluster: Deployment, Service, disruption budget, account and rights.

mod deployment;
mod rights;

use crate::labels::{self, Labels};
use crate::{ManifestError, MemberInput, RelayPlacement, names, patch};
use kube_core::DynamicObject;
use serde_json::{Value, json};

/// Audience of the tokens that gateways show to the relay.
pub const RELAY_AUDIENCE: &str = "gatefleet-relay";
/// Name in every relay's certificate.
pub const RELAY_SERVER_NAME: &str = "gatefleet-relay";

/// Name of a fleet's relay in a cluster: Deployment, Service and ServiceAccount.
#[must_use]
pub fn relay_name(fleet: &str) -> String {
    names::with_suffix(fleet, "relay")
}

/// Name of the Secret with the cluster's intermediate authority, written by the hub, read by the relay.
#[must_use]
pub fn relay_identity_secret(fleet: &str) -> String {
    names::with_suffix(fleet, "relay-identity")
}

/// All objects of the relay; none where it runs elsewhere.
pub(crate) fn objects(input: &MemberInput) -> Result<Vec<DynamicObject>, ManifestError> {
    let RelayPlacement::Deployment { arguments } = &input.relay else { return Ok(Vec::new()) };
    let part = Part { input, name: relay_name(&input.fleet.name) };
    let mut objects = vec![part.service_account()];
    objects.extend(rights::objects(&part));
    objects.extend([part.service(), deployment::object(&part, arguments), part.disruption_budget()]);
    objects.into_iter().map(patch::object).collect()
}

struct Part<'a> {
    input: &'a MemberInput,
    name: String,
}

impl Part<'_> {
    fn labels(&self) -> Labels {
        labels::component(self.input, "relay", &self.name)
    }

    fn selector(&self) -> Labels {
        labels::relay_selector(self.input)
    }

    fn metadata(&self) -> Value {
        json!({"name": self.name, "namespace": self.input.fleet.target_namespace, "labels": self.labels()})
    }

    fn service_account(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.metadata()})
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(),
            "spec": {
                "type": "ClusterIP",
                "selector": self.selector(),
                "ports": [
                    {"name": "grpc-xds", "port": 15010, "targetPort": "xds", "protocol": "TCP"},
                    {"name": "https-issuer", "port": 15012, "targetPort": "issuer", "protocol": "TCP"},
                ],
            },
        })
    }

    fn disruption_budget(&self) -> Value {
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": self.selector()},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        })
    }
}
