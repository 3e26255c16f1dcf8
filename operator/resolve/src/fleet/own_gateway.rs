// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway that a fleet declares itself, in `template.listeners`. Routes of any namespace may attach to it.

use super::FleetFacts;
use crate::facts::Lookup;
use crate::status::{Problem, Reason, Verdict};
use crate::target::{
    AllowedNamespaces, Declared, GatewayInfo, Protocol, Target, TargetOutcome, judge, ports,
};
use crate::view::View;
use crds::gateway_fleet::{FleetListener, ListenerProtocol};
use operator_ir::{GatewayId, HostPattern, Origin, SecretId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resolves the fleet's listeners. A fleet without listeners has no gateway of its own; its target is inactive.
pub(crate) fn resolve_own_gateway(fleet: &FleetFacts, view: &mut View<'_>) -> TargetOutcome {
    let declared = fleet.listeners.iter().map(|listener| declare(listener, fleet, view)).collect();
    let (listeners, verdicts) = judge(declared, fleet.generation);
    let ports = ports(&listeners);
    let info = GatewayInfo {
        object: fleet.object.clone(),
        fleet: fleet.object.clone(),
        ports,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        addresses: Vec::new(),
    };
    let problems = fleet.plugins_by_reference.iter().map(|plugin| Problem {
        origin: Origin { object: fleet.object.clone(), rule: None },
        reason: Reason::UnsupportedValue,
        message: format!("plugins: {plugin} is given by ref, which is not served yet; give it by oci.image"),
    });
    TargetOutcome {
        target: Arc::new(Target {
            object: Arc::new(fleet.object.clone()),
            gateway: Arc::new(GatewayId::for_object(&fleet.namespace, &fleet.object.name)),
            active: !fleet.listeners.is_empty(),
            listeners,
        }),
        generation: fleet.generation,
        conditions: Vec::new(),
        listeners: verdicts,
        problems: problems.collect(),
        plugins: fleet.plugins.clone(),
        info,
    }
}

fn declare(listener: &FleetListener, fleet: &FleetFacts, view: &mut View<'_>) -> Declared {
    let (protocol, protocol_text) = match listener.protocol {
        ListenerProtocol::HTTP => (Protocol::Http, "HTTP"),
        ListenerProtocol::HTTPS => (Protocol::Https, "HTTPS"),
    };
    let (certificates, references) = match (&listener.tls, protocol) {
        (Some(tls), Protocol::Https) => certificate(&tls.secret, fleet, view),
        (None, Protocol::Https) => {
            let message = "tls.secret must name a Secret in the target namespace";
            (Vec::new(), Verdict::no(Reason::InvalidCertificateRef, message))
        }
        _ => (Vec::new(), Verdict::yes(Reason::ResolvedRefs)),
    };
    Declared {
        name: listener.name.clone(),
        port: listener.port,
        protocol,
        protocol_text: protocol_text.to_owned(),
        hostname: HostPattern::parse(listener.hostname.as_deref().unwrap_or_default()),
        namespaces: AllowedNamespaces::All,
        supported_kinds: vec!["HTTPRoute"],
        references,
        certificates,
        terminates: true,
        unserved: None,
        shared: true,
    }
}

fn certificate(secret: &str, fleet: &FleetFacts, view: &mut View<'_>) -> (Vec<SecretId>, Verdict) {
    let namespace = fleet.namespace.as_str();
    let problem = match view.secret(namespace, secret) {
        Lookup::Absent => format!("tls.secret: Secret {namespace}/{secret} does not exist"),
        Lookup::Present(Some(problem)) => {
            format!("tls.secret: Secret {namespace}/{secret} is no certificate: {problem}")
        }
        Lookup::Present(None) | Lookup::Unknown => {
            let certificate = SecretId { namespace: namespace.to_owned(), name: secret.to_owned() };
            return (vec![certificate], Verdict::yes(Reason::ResolvedRefs));
        }
    };
    (Vec::new(), Verdict::no(Reason::InvalidCertificateRef, problem))
}
