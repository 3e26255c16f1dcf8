// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What routing needs to know about objects that it only refers to. Watches bring many changes that touch none of it.

use crate::selector;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::IngressClass;
use operator_ir::{BackendProtocol, ObjectKind, ObjectRef};
use std::collections::BTreeMap;

/// An object that may be missing, or of a kind that we do not see at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    /// Objects of this kind are not seen: never a reason to take something away.
    Unknown,
    /// Not there.
    Absent,
    /// There.
    Present(T),
}

/// Labels of a Namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// Ports of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    pub(crate) ports: Vec<ServicePortFacts>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePortFacts {
    pub(crate) name: Option<String>,
    pub(crate) port: u16,
    app_protocol: Option<String>,
    transport: Option<String>,
}

impl ServiceFacts {
    pub(crate) fn of(service: &Service) -> Self {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let ports = ports.iter().filter_map(|port| {
            Some(ServicePortFacts {
                name: port.name.clone(),
                port: u16::try_from(port.port).ok()?,
                app_protocol: port.app_protocol.clone(),
                transport: port.protocol.clone(),
            })
        });
        Self { ports: ports.collect() }
    }

    pub(crate) fn port(&self, number: u16) -> Option<&ServicePortFacts> {
        self.ports.iter().find(|port| port.port == number && port.is_tcp())
    }

    pub(crate) fn port_named(&self, name: &str) -> Option<&ServicePortFacts> {
        self.ports.iter().find(|port| port.name.as_deref() == Some(name) && port.is_tcp())
    }
}

impl ServicePortFacts {
    fn is_tcp(&self) -> bool {
        self.transport.as_deref().is_none_or(|transport| transport == "TCP")
    }

    /// How to speak to the port (GEP-1911). The error is an `appProtocol` that needs TLS to the backend.
    pub(crate) fn protocol(&self) -> Result<BackendProtocol, &str> {
        match self.app_protocol.as_deref() {
            Some("kubernetes.io/h2c" | "h2c" | "http2" | "grpc") => Ok(BackendProtocol::Http2),
            Some(protocol @ ("kubernetes.io/wss" | "wss" | "https")) => Err(protocol),
            _ => Ok(BackendProtocol::Http1),
        }
    }
}

/// Whom an IngressClass belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IngressClassFacts {
    pub(crate) controller: String,
    pub(crate) is_default: bool,
    /// The GatewayFleet that `spec.parameters` names.
    pub(crate) fleet: Option<ObjectRef>,
}

impl IngressClassFacts {
    pub(crate) fn of(class: &IngressClass) -> Self {
        let spec = class.spec.as_ref();
        let annotations = class.metadata.annotations.as_ref();
        let default = annotations.and_then(|all| all.get("ingressclass.kubernetes.io/is-default-class"));
        let fleet = spec.and_then(|spec| spec.parameters.as_ref()).filter(|parameters| {
            parameters.api_group.as_deref() == Some("gatefleet.dev") && parameters.kind == "GatewayFleet"
        });
        Self {
            controller: spec.and_then(|spec| spec.controller.clone()).unwrap_or_default(),
            is_default: default.is_some_and(|value| value == "true"),
            fleet: fleet.map(|parameters| {
                let namespace = parameters.namespace.clone().unwrap_or_default();
                ObjectRef::new(ObjectKind::GatewayFleet, namespace, parameters.name.clone())
            }),
        }
    }
}

/// Whom a ReferenceGrant allows what, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantFacts {
    /// Group, kind and namespace of those who may refer.
    pub(crate) from: Vec<(String, String, String)>,
    /// Group, kind and, where restricted, name of what may be referred to.
    pub(crate) to: Vec<(String, String, Option<String>)>,
}

/// Which namespaces a config source takes.
pub(crate) type NamespaceSelector = Option<selector::Selector>;
