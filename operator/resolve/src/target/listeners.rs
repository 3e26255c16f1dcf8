// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners side by side: conflicts, ports, and the conditions that follow.

use super::{AllowedNamespaces, Protocol, TargetListener, pod_ports};
use crate::checks::is_host;
use crate::status::{Condition, ConditionType, ListenerVerdict, Reason, Verdict};
use operator_ir::{HostPattern, SecretId};

/// A listener as its owner declared it, its own fields and references checked.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) port: i32,
    pub(crate) protocol: Protocol,
    /// The protocol as written.
    pub(crate) protocol_text: String,
    pub(crate) hostname: HostPattern,
    pub(crate) namespaces: AllowedNamespaces,
    /// Kinds that may attach; of group gateway.networking.k8s.io.
    pub(crate) supported_kinds: Vec<&'static str>,
    /// Whether all certificates and kinds that it names hold.
    pub(crate) references: Verdict,
    /// Those certificates that hold.
    pub(crate) certificates: Vec<SecretId>,
    /// Whether it ends TLS; others are not served under HTTPS.
    pub(crate) terminates: bool,
    /// What is asked of the listener that would be dangerous to leave out and is not served.
    pub(crate) unserved: Option<String>,
    /// Whether others bring certificates of their own (Ingresses), so that it is open also without any.
    pub(crate) shared: bool,
}

/// Puts listeners side by side (Gateway API, `Listener`: "distinct", `ListenerConditionType`).
pub(crate) fn judge(declared: Vec<Declared>, generation: i64) -> (Vec<TargetListener>, Vec<ListenerVerdict>) {
    let conflicts: Vec<_> = declared.iter().map(|listener| conflict(listener, &declared)).collect();
    let obstacles: Vec<_> = declared
        .iter()
        .map(|listener| pod_ports::obstacle(port(listener)?, declared.iter().filter_map(port)))
        .collect();
    let mut listeners = Vec::with_capacity(declared.len());
    let mut verdicts = Vec::with_capacity(declared.len());
    for ((listener, conflict), obstacle) in declared.into_iter().zip(conflicts).zip(obstacles) {
        let accepted = accepted(&listener, conflict.as_ref(), obstacle);
        let complete = listener.protocol == Protocol::Http || !listener.certificates.is_empty();
        let serving = accepted.holds && (complete || listener.shared);
        let is_accepted = accepted.holds;
        verdicts.push(verdict(&listener, conflict, accepted, complete, generation));
        listeners.push(TargetListener {
            accepted: is_accepted,
            port: port(&listener).unwrap_or_default(),
            http_routes: listener.supported_kinds.contains(&"HTTPRoute"),
            name: listener.name.into(),
            protocol: listener.protocol,
            hostname: listener.hostname,
            namespaces: listener.namespaces,
            certificates: listener.certificates,
            serving,
        });
    }
    (listeners, verdicts)
}

fn port(listener: &Declared) -> Option<u16> {
    u16::try_from(listener.port).ok().filter(|port| *port > 0)
}

fn conflict(listener: &Declared, all: &[Declared]) -> Option<Verdict> {
    if listener.protocol == Protocol::Unsupported {
        return None;
    }
    let others = || {
        all.iter().filter(|other| {
            !std::ptr::eq(*other, listener)
                && other.port == listener.port
                && other.protocol != Protocol::Unsupported
        })
    };
    if let Some(other) = others().find(|other| other.protocol != listener.protocol) {
        let message = format!("port {} has another protocol in listener {}", listener.port, other.name);
        return Some(Verdict { holds: true, reason: Reason::ProtocolConflict, message });
    }
    let other = others().find(|other| other.hostname == listener.hostname)?;
    let message = format!("port {} has the same hostname in listener {}", listener.port, other.name);
    Some(Verdict { holds: true, reason: Reason::HostnameConflict, message })
}

fn accepted(listener: &Declared, conflict: Option<&Verdict>, obstacle: Option<String>) -> Verdict {
    if listener.protocol == Protocol::Unsupported {
        let message = format!("protocol {} is not served; HTTP and HTTPS are", listener.protocol_text);
        return Verdict::no(Reason::UnsupportedProtocol, message);
    }
    if listener.protocol == Protocol::Https && !listener.terminates {
        return Verdict::no(Reason::UnsupportedProtocol, "tls.mode of an HTTPS listener must be Terminate");
    }
    if !is_host(&listener.hostname) {
        return Verdict::no(
            Reason::UnsupportedValue,
            format!("hostname {} is no hostname", listener.hostname),
        );
    }
    if let Some(message) = &listener.unserved {
        return Verdict::no(Reason::UnsupportedValue, message.clone());
    }
    if port(listener).is_none() {
        return Verdict::no(Reason::PortUnavailable, format!("{} is no port", listener.port));
    }
    if let Some(conflict) = conflict {
        return Verdict::no(conflict.reason, conflict.message.clone());
    }
    match obstacle {
        Some(message) => Verdict::no(Reason::PortUnavailable, message),
        None => Verdict::yes(Reason::Accepted),
    }
}

fn verdict(
    listener: &Declared,
    conflict: Option<Verdict>,
    accepted: Verdict,
    complete: bool,
    generation: i64,
) -> ListenerVerdict {
    let programmed = if accepted.holds && complete {
        Verdict::yes(Reason::Programmed)
    } else if let Some(conflict) = &conflict {
        Verdict::no(conflict.reason, conflict.message.clone())
    } else {
        let cause = if accepted.holds { &listener.references } else { &accepted };
        Verdict::no(Reason::Invalid, cause.message.clone())
    };
    let conflicted =
        conflict.unwrap_or(Verdict { holds: false, reason: Reason::NoConflicts, message: String::new() });
    ListenerVerdict {
        name: listener.name.clone(),
        supported_kinds: listener.supported_kinds.clone(),
        attached_routes: 0,
        conditions: vec![
            Condition::new(ConditionType::Accepted, generation, accepted),
            Condition::new(ConditionType::Conflicted, generation, conflicted),
            Condition::new(ConditionType::Programmed, generation, programmed),
            Condition::new(ConditionType::ResolvedRefs, generation, listener.references.clone()),
        ],
    }
}
