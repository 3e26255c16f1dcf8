// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which listeners a route attaches to, and for which hosts.

use crate::status::{Reason, Verdict};
use crate::target::{AllowedNamespaces, Target, TargetListener};
use crate::view::View;
use operator_ir::HostPattern;

/// What a route asks of a parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) namespace: &'a str,
    pub(super) section: Option<&'a str>,
    pub(super) port: Option<i32>,
    pub(super) hostnames: &'a [HostPattern],
}

/// The listeners that take the route, or why none does.
pub(super) fn attach<'t>(
    target: &'t Target,
    request: Request<'_>,
    view: &mut View<'_>,
) -> Result<Vec<&'t TargetListener>, Verdict> {
    if !target.active {
        let message = format!("{} has no gateway: it is not accepted or has no listeners", target.object);
        return Err(Verdict::no(Reason::NoMatchingParent, message));
    }
    let named: Vec<_> = target
        .listeners
        .iter()
        .filter(|listener| request.section.is_none_or(|section| *section == *listener.name))
        .filter(|listener| request.port.is_none_or(|port| port == i32::from(listener.port)))
        .collect();
    if named.is_empty() {
        let message = format!("{} has no listener with this sectionName and port", target.object);
        return Err(Verdict::no(Reason::NoMatchingParent, message));
    }
    let allowed: Vec<_> = named
        .into_iter()
        .filter(|listener| listener.http_routes && allows(listener, request, view))
        .collect();
    if allowed.is_empty() {
        let message = format!(
            "no listener of {} allows HTTPRoutes of namespace {}, see allowedRoutes",
            target.object, request.namespace
        );
        return Err(Verdict::no(Reason::NotAllowedByListeners, message));
    }
    let matching: Vec<_> =
        allowed.into_iter().filter(|listener| !hosts(listener, request.hostnames).is_empty()).collect();
    if matching.is_empty() {
        let message = format!("no listener of {} has a hostname in common with the route", target.object);
        return Err(Verdict::no(Reason::NoMatchingListenerHostname, message));
    }
    Ok(matching)
}

fn allows(listener: &TargetListener, request: Request<'_>, view: &mut View<'_>) -> bool {
    match &listener.namespaces {
        AllowedNamespaces::All => true,
        AllowedNamespaces::Only(namespace) => namespace == request.namespace,
        AllowedNamespaces::Selected(selector) => selector.selects(&view.namespace_labels(request.namespace)),
    }
}

/// The hosts that a listener and a route have in common, each with the route's own hostname that it comes from: the most
/// specific one, where several of a route meet in one host.
pub(crate) fn hosts(listener: &TargetListener, hostnames: &[HostPattern]) -> Vec<(HostPattern, HostPattern)> {
    let mut hosts: Vec<(HostPattern, HostPattern)> = hostnames
        .iter()
        .filter_map(|own| listener.hostname.intersect(own).map(|host| (host, own.clone())))
        .collect();
    hosts.sort();
    hosts.dedup_by(|later, first| later.0 == first.0);
    hosts
}
