// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Certificates that an Ingress brings to the fleet's HTTPS listeners.

use super::Problems;
use crate::checks::is_host;
use crate::facts::Lookup;
use crate::route::HostCertificate;
use crate::status::Reason;
use crate::target::{Protocol, Target, TargetListener};
use crate::view::View;
use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};
use operator_ir::{HostPattern, SecretId};

/// The certificates for each TLS host that a listener of `target` serves.
pub(super) fn certificates(
    ingress: &Ingress,
    target: &Target,
    age: i64,
    view: &mut View<'_>,
    problems: &mut Problems,
) -> Vec<HostCertificate> {
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let mut certificates: Vec<HostCertificate> = Vec::new();
    for tls in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
        let secret = match tls.secret_name.as_deref().filter(|name| !name.is_empty()) {
            Some(secret) => match check(namespace, secret, view) {
                Ok(secret) => Some(secret),
                Err(message) => {
                    problems.add(None, Reason::InvalidCertificateRef, message);
                    continue;
                }
            },
            // The listener's own certificate serves these hosts.
            None => None,
        };
        for host in tls_hosts(ingress, tls) {
            let Some(listener) = listener_for(target, &host).filter(|_| is_host(&host)) else {
                let message = format!("tls: no HTTPS listener of {} serves host {host}", target.object);
                problems.add(None, Reason::NoMatchingListenerHostname, message);
                continue;
            };
            let Some(secret) = &secret else { continue };
            if listener.hostname == host && !listener.certificates.is_empty() {
                let message = format!(
                    "tls: listener {} of {} has a certificate for {host}",
                    listener.name, target.object
                );
                problems.add(None, Reason::HostnameConflict, message);
            } else if certificates.iter().all(|other| other.host != host || other.listener != listener.name) {
                let (listener, secret) = (listener.name.clone(), secret.clone());
                certificates.push(HostCertificate { listener, host, secret, age });
            }
        }
    }
    certificates
}

fn check(namespace: &str, secret: &str, view: &mut View<'_>) -> Result<SecretId, String> {
    match view.secret(namespace, secret) {
        Lookup::Absent => Err(format!("tls: Secret {namespace}/{secret} does not exist")),
        Lookup::Present(Some(problem)) => {
            Err(format!("tls: Secret {namespace}/{secret} is no certificate: {problem}"))
        }
        Lookup::Present(None) | Lookup::Unknown => {
            Ok(SecretId { namespace: namespace.to_owned(), name: secret.to_owned() })
        }
    }
}

/// The hosts that are written, else those of the rules.
fn tls_hosts(ingress: &Ingress, tls: &IngressTLS) -> Vec<HostPattern> {
    let written = tls.hosts.as_deref().unwrap_or_default();
    let mut hosts: Vec<_> = if written.is_empty() {
        let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        rules.map(|rule| HostPattern::parse(rule.host.as_deref().unwrap_or_default())).collect()
    } else {
        written.iter().map(|host| HostPattern::parse(host)).collect()
    };
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The most specific HTTPS listener that serves `host`.
fn listener_for<'t>(target: &'t Target, host: &HostPattern) -> Option<&'t TargetListener> {
    let serving =
        target.listeners.iter().filter(|listener| listener.serving && listener.protocol == Protocol::Https);
    serving.filter(|listener| listener.hostname.covers(host)).min_by(|a, b| a.hostname.cmp(&b.hostname))
}
