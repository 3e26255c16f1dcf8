// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners of a Gateway: their fields, kinds and certificates.

use super::{GROUP, Referrer, permitted};
use crate::facts::Lookup;
use crate::selector::{Operator, Requirement, Selector};
use crate::status::{Reason, Verdict};
use crate::target::{AllowedNamespaces, Declared, Protocol};
use crate::view::View;
use crds::gateway_api::{
    Gateway, GatewayListeners, GatewayListenersAllowedRoutes, GatewayListenersAllowedRoutesNamespacesFrom,
    GatewayListenersTlsCertificateRefs, GatewayListenersTlsMode,
};
use operator_ir::{HostPattern, SecretId};

/// Reads one listener of a Gateway in `namespace`.
pub(super) fn declare(listener: &GatewayListeners, namespace: &str, view: &mut View<'_>) -> Declared {
    let protocol = match listener.protocol.as_str() {
        "HTTP" => Protocol::Http,
        "HTTPS" => Protocol::Https,
        _ => Protocol::Unsupported,
    };
    let (supported_kinds, invalid_kinds) = kinds(listener.allowed_routes.as_ref(), protocol);
    let tls = listener.tls.as_ref();
    let terminates = tls.and_then(|tls| tls.mode.as_ref()) != Some(&GatewayListenersTlsMode::Passthrough);
    let (certificates, problem) = if protocol == Protocol::Https && terminates {
        certificates(tls.and_then(|tls| tls.certificate_refs.as_deref()).unwrap_or_default(), namespace, view)
    } else {
        (Vec::new(), None)
    };
    let references = match invalid_kinds.or(problem) {
        Some(problem) => problem,
        None => Verdict::yes(Reason::ResolvedRefs),
    };
    Declared {
        name: listener.name.clone(),
        port: listener.port,
        protocol,
        protocol_text: listener.protocol.clone(),
        hostname: HostPattern::parse(listener.hostname.as_deref().unwrap_or_default()),
        namespaces: namespaces(listener.allowed_routes.as_ref(), namespace),
        supported_kinds,
        references,
        certificates,
        terminates,
        unserved: None,
        shared: false,
    }
}

/// Marks HTTPS listeners that are to check client certificates: serving them without the check would let everybody in.
pub(super) fn refuse_client_validation(gateway: &Gateway, listeners: &mut [Declared]) {
    let Some(frontend) = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) else { return };
    for listener in listeners.iter_mut().filter(|listener| listener.protocol == Protocol::Https) {
        let own = frontend.per_port.iter().flatten().find(|port| port.port == listener.port);
        let validated = match own {
            Some(port) => port.tls.validation.is_some(),
            None => frontend.default.validation.is_some(),
        };
        if validated {
            let message = "tls.frontend: validation of client certificates is not served yet";
            listener.unserved = Some(message.to_owned());
        }
    }
}

fn kinds(
    allowed: Option<&GatewayListenersAllowedRoutes>,
    protocol: Protocol,
) -> (Vec<&'static str>, Option<Verdict>) {
    if protocol == Protocol::Unsupported {
        return (Vec::new(), None);
    }
    let kinds = allowed.and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
    if kinds.is_empty() {
        return (vec!["HTTPRoute"], None);
    }
    let is_http_route =
        |group: Option<&str>, kind: &str| group.unwrap_or(GROUP) == GROUP && kind == "HTTPRoute";
    let invalid = kinds.iter().find(|kind| !is_http_route(kind.group.as_deref(), &kind.kind)).map(|kind| {
        let group = kind.group.as_deref().unwrap_or(GROUP);
        let message = format!("allowedRoutes.kinds: {group}/{} cannot attach here; HTTPRoute can", kind.kind);
        Verdict::no(Reason::InvalidRouteKinds, message)
    });
    let valid = kinds.iter().any(|kind| is_http_route(kind.group.as_deref(), &kind.kind));
    (if valid { vec!["HTTPRoute"] } else { Vec::new() }, invalid)
}

fn namespaces(allowed: Option<&GatewayListenersAllowedRoutes>, own: &str) -> AllowedNamespaces {
    let Some(namespaces) = allowed.and_then(|allowed| allowed.namespaces.as_ref()) else {
        return AllowedNamespaces::Only(own.to_owned());
    };
    match namespaces.from {
        Some(GatewayListenersAllowedRoutesNamespacesFrom::All) => AllowedNamespaces::All,
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Selector) => {
            let Some(selector) = &namespaces.selector else {
                return AllowedNamespaces::Only(own.to_owned());
            };
            let requirements = selector.match_expressions.iter().flatten().map(|expression| Requirement {
                key: expression.key.clone(),
                operator: Operator::parse(&expression.operator),
                values: expression.values.clone().unwrap_or_default(),
            });
            AllowedNamespaces::Selected(Selector::new(selector.match_labels.iter().flatten(), requirements))
        }
        Some(GatewayListenersAllowedRoutesNamespacesFrom::Same) | None => {
            AllowedNamespaces::Only(own.to_owned())
        }
    }
}

/// The certificates that hold, and the first problem.
fn certificates(
    references: &[GatewayListenersTlsCertificateRefs],
    namespace: &str,
    view: &mut View<'_>,
) -> (Vec<SecretId>, Option<Verdict>) {
    if references.is_empty() {
        let message = "tls.certificateRefs must name at least one Secret";
        return (Vec::new(), Some(Verdict::no(Reason::InvalidCertificateRef, message)));
    }
    let mut certificates = Vec::new();
    let mut problem = None;
    for reference in references {
        match certificate(reference, namespace, view) {
            Ok(certificate) => certificates.push(certificate),
            Err(verdict) => problem = problem.or(Some(verdict)),
        }
    }
    (certificates, problem)
}

fn certificate(
    reference: &GatewayListenersTlsCertificateRefs,
    own_namespace: &str,
    view: &mut View<'_>,
) -> Result<SecretId, Verdict> {
    let invalid = |message| Verdict::no(Reason::InvalidCertificateRef, message);
    let (group, kind) =
        (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Secret"));
    if !group.is_empty() || kind != "Secret" {
        return Err(invalid(format!("tls.certificateRefs: {group}/{kind} is no certificate; name a Secret")));
    }
    let namespace = reference.namespace.as_deref().unwrap_or(own_namespace);
    let name = reference.name.as_str();
    let gateway = Referrer { group: GROUP, kind: "Gateway", namespace: own_namespace };
    // Before any look at the Secret: whether it exists is not for everybody to know.
    if !permitted(view, gateway, "Secret", namespace, name) {
        let message = format!(
            "tls.certificateRefs: no ReferenceGrant in {namespace} permits Secret {namespace}/{name}"
        );
        return Err(Verdict::no(Reason::RefNotPermitted, message));
    }
    match view.secret(namespace, name) {
        Lookup::Absent => {
            Err(invalid(format!("tls.certificateRefs: Secret {namespace}/{name} does not exist")))
        }
        Lookup::Present(Some(problem)) => Err(invalid(format!(
            "tls.certificateRefs: Secret {namespace}/{name} is no certificate: {problem}"
        ))),
        Lookup::Present(None) | Lookup::Unknown => {
            Ok(SecretId { namespace: namespace.to_owned(), name: name.to_owned() })
        }
    }
}
