// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A verified peer certificate chain to the identity that it proves.

use crate::workload::cluster_uri;
use crate::{IdentityError, Validity, WorkloadIdentity};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What a peer's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChain {
    /// Who it is.
    pub identity: WorkloadIdentity,
    /// How long the leaf holds.
    pub validity: Validity,
}

/// Reads the identity from the chain that a peer presented, leaf first. The chain's signatures must have been verified
/// against the fleet's roots (by rustls, in the handshake); this checks what rustls does not know: the shape of the
/// chain, and that the intermediate may speak for the leaf's cluster.
///
/// X.509 name constraints cannot limit a URI's path (RFC 5280, 4.2.1.10), so the intermediate carries the URI that all
/// identities under it must begin with.
///
/// # Errors
/// Where the chain has another shape or its names disagree.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<PeerChain, IdentityError> {
    // With one intermediate there is one path to the root, so this intermediate did sign the leaf.
    let [leaf, intermediate] = chain else {
        return Err(IdentityError::ChainLength(chain.len()));
    };
    let leaf = parse(leaf)?;
    let uri = only_uri(&leaf)?;
    let identity = WorkloadIdentity::parse(uri, common_name(&leaf)?)?;
    let intermediate = parse(intermediate)?;
    let granted = only_uri(&intermediate)?;
    if granted != cluster_uri(&identity.trust_domain, &identity.cluster)? {
        return Err(IdentityError::Disagree(format!("{uri} is not of {granted}")));
    }
    Ok(PeerChain { identity, validity: validity(&leaf)? })
}

/// From when to when a certificate holds.
///
/// # Errors
/// Where it cannot be read.
pub fn validity_of(certificate: &CertificateDer<'_>) -> Result<Validity, IdentityError> {
    validity(&parse(certificate)?)
}

/// The trust domain and cluster of an intermediate.
pub(crate) fn cluster_of(certificate: &CertificateDer<'_>) -> Result<(String, String), IdentityError> {
    let parsed = parse(certificate)?;
    let uri = only_uri(&parsed)?;
    let found = uri.strip_prefix("spiffe://").and_then(|path| path.split_once("/cluster/"));
    let (trust_domain, cluster) = found.ok_or_else(|| IdentityError::Uri(uri.to_owned()))?;
    cluster_uri(trust_domain, cluster)?;
    Ok((trust_domain.to_owned(), cluster.to_owned()))
}

/// The trust domain of a root.
pub(crate) fn trust_domain_of(certificate: &CertificateDer<'_>) -> Result<String, IdentityError> {
    let parsed = parse(certificate)?;
    let uri = only_uri(&parsed)?;
    let domain = uri.strip_prefix("spiffe://").ok_or_else(|| IdentityError::Uri(uri.to_owned()))?;
    crate::workload::check_part("trust domain", domain)?;
    Ok(domain.to_owned())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| IdentityError::Certificate("not DER"))?;
    if rest.is_empty() { Ok(parsed) } else { Err(IdentityError::Certificate("bytes after its end")) }
}

fn only_uri<'a>(certificate: &X509Certificate<'a>) -> Result<&'a str, IdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| IdentityError::Certificate("subject alternative names"))?
        .ok_or(IdentityError::Certificate("no subject alternative name"))?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri),
        _ => Err(IdentityError::Certificate("not exactly one URI name")),
    }
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    let mut names = certificate.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().map_err(|_| IdentityError::Certificate("common name")),
        _ => Err(IdentityError::Certificate("not exactly one common name")),
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, IdentityError> {
    let moment =
        |seconds| Timestamp::from_second(seconds).map_err(|_| IdentityError::Certificate("validity"));
    let validity = certificate.validity();
    Ok(Validity {
        not_before: moment(validity.not_before.timestamp())?,
        not_after: moment(validity.not_after.timestamp())?,
    })
}
