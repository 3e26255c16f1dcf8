// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One gateway in a cluster: Deployment, HPA, disruption budget, Services, account and configuration.

mod deployment;
mod scaling;
mod service;

pub use service::{container_port, metrics_service_name};

use crate::labels::{self, Labels};
use crate::{Bootstrap, GatewayWorkload, ManifestError, MemberInput, names, patch};
use kube_core::DynamicObject;
use serde_json::{Value, json};

/// All objects of a gateway.
pub(crate) fn objects(
    input: &MemberInput,
    workload: &GatewayWorkload,
) -> Result<Vec<DynamicObject>, ManifestError> {
    let part = Part { input, workload };
    let bootstrap = Bootstrap::new(input, workload);
    let bootstrap = serde_json::to_string_pretty(&bootstrap).map_err(|source| ManifestError::Encode {
        object: format!("the bootstrap of gateway {}", workload.id),
        source,
    })?;
    let mut objects = vec![
        part.service_account(),
        part.config_map(&part.bootstrap_name(), "bootstrap.yaml", &bootstrap),
        part.config_map(&part.trust_name(), "ca.crt", &input.trust_bundle),
        service::traffic(part),
        service::metrics(part),
        deployment::object(part, &bootstrap)?,
    ];
    objects.extend(scaling::autoscaler(part));
    objects.push(scaling::disruption_budget(part));
    objects.into_iter().map(patch::object).collect()
}

/// A gateway and all that decides how it looks.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) input: &'a MemberInput,
    pub(crate) workload: &'a GatewayWorkload,
}

impl Part<'_> {
    fn name(&self) -> &str {
        &self.workload.id.name
    }

    fn labels(&self) -> Labels {
        labels::gateway(self.input, self.workload)
    }

    fn selector(&self) -> Labels {
        labels::gateway_selector(self.input, self.workload)
    }

    fn bootstrap_name(&self) -> String {
        names::with_suffix(self.name(), "bootstrap")
    }

    fn trust_name(&self) -> String {
        names::with_suffix(self.name(), "trust")
    }

    fn metadata(&self, name: &str) -> Value {
        let mut metadata =
            json!({"name": name, "namespace": self.workload.id.namespace, "labels": self.labels()});
        if !self.workload.annotations.is_empty() {
            metadata["annotations"] = json!(self.workload.annotations);
        }
        metadata
    }

    fn service_account(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": self.metadata(self.name()),
            "automountServiceAccountToken": false,
        })
    }

    fn config_map(&self, name: &str, key: &str, text: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": self.metadata(name), "data": {key: text}})
    }
}
