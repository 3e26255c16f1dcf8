// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! References to Services, as every front end has them.

use crate::facts::Lookup;
use crate::gateway_api::{Referrer, permitted};
use crate::status::Reason;
use crate::view::View;
use operator_ir::{BackendId, BackendProtocol};

/// A reference as written, defaults filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendReference<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) port: Option<i32>,
}

/// Why a reference leads nowhere.
pub(crate) type ReferenceProblem = (Reason, String);

/// Finds the backend, or why there is none (Gateway API, `BackendRef`, reasons of `ResolvedRefs`).
pub(crate) fn resolve_backend(
    reference: BackendReference<'_>,
    referrer: Referrer<'_>,
    view: &mut View<'_>,
) -> Result<BackendId, ReferenceProblem> {
    let BackendReference { group, kind, namespace, name, port } = reference;
    if !group.is_empty() || kind != "Service" {
        let separator = if group.is_empty() { "" } else { "/" };
        return Err((
            Reason::InvalidKind,
            format!("{group}{separator}{kind} {name} is no backend; name a Service"),
        ));
    }
    // Before any look at the Service: whether it exists is not for everybody to know.
    if !permitted(view, referrer, "Service", namespace, name) {
        let message = format!("no ReferenceGrant in {namespace} permits Service {namespace}/{name}");
        return Err((Reason::RefNotPermitted, message));
    }
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) else {
        return Err((
            Reason::BackendNotFound,
            format!("port of Service {namespace}/{name} is missing or no port"),
        ));
    };
    let protocol = match view.service(namespace, name) {
        Lookup::Unknown => BackendProtocol::Http1,
        Lookup::Absent => {
            return Err((Reason::BackendNotFound, format!("Service {namespace}/{name} does not exist")));
        }
        Lookup::Present(service) => match service.port(port) {
            None => {
                return Err((
                    Reason::BackendNotFound,
                    format!("Service {namespace}/{name} has no TCP port {port}"),
                ));
            }
            Some(port) => port.protocol().map_err(|protocol| {
                let message = format!("Service {namespace}/{name}: appProtocol {protocol} is not supported");
                (Reason::UnsupportedProtocol, message)
            })?,
        },
    };
    Ok(BackendId::Service { namespace: namespace.to_owned(), name: name.to_owned(), port, protocol })
}
