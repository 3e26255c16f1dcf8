// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The two signing authorities: the fleet's root on the hub, one intermediate in each cluster.

use crate::verify::{cluster_of, trust_domain_of};
use crate::workload::cluster_uri;
use crate::{
    AuthorityPem, IdentityError, IssuedCertificate, KeyPem, ServerCertificate, Validity, WorkloadIdentity,
    certificates_from_pem, validity_of,
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};

/// How long a root holds.
pub const ROOT_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// How long a cluster's intermediate holds: long enough for a hub that is away for weeks.
pub const CLUSTER_AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long a relay's server certificate holds.
pub const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long a workload certificate holds.
pub const WORKLOAD_LIFE: SignedDuration = SignedDuration::from_hours(12);

/// Certificates hold from a little earlier than now, for clocks that are behind.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// The largest request that is read.
const REQUEST_LIMIT: usize = 16 * 1024;

/// The fleet's root. Lives on the hub; signs nothing but intermediates.
#[derive(Debug)]
pub struct FleetAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: AuthorityPem,
    trust_domain: String,
    validity: Validity,
}

impl FleetAuthority {
    /// Makes a new root for a trust domain.
    ///
    /// # Errors
    /// Where the trust domain is not a name or signing fails.
    pub fn create(trust_domain: &str, now: Timestamp) -> Result<Self, IdentityError> {
        crate::workload::check_part("trust domain", trust_domain)?;
        let validity = validity_from(now, ROOT_LIFE);
        let mut params = authority_params(format!("gatefleet root {trust_domain}"), validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.subject_alt_names = vec![uri_name(&format!("spiffe://{trust_domain}"))?];
        let key = generate_key()?;
        let certificate = params.self_signed(&key).map_err(sign_error("root"))?;
        let pem = AuthorityPem { certificate: certificate.pem(), key: KeyPem::new(key.serialize_pem()) };
        Ok(Self { issuer: Issuer::new(params, key), pem, trust_domain: trust_domain.to_owned(), validity })
    }

    /// Reads a root that [`Self::pem`] gave.
    ///
    /// # Errors
    /// Where certificate or key are malformed.
    pub fn from_pem(pem: AuthorityPem) -> Result<Self, IdentityError> {
        let (certificate, issuer) = load(&pem)?;
        let trust_domain = trust_domain_of(&certificate)?;
        Ok(Self { issuer, pem, trust_domain, validity: validity_of(&certificate)? })
    }

    /// Certificate and key, for storage.
    #[must_use]
    pub fn pem(&self) -> &AuthorityPem {
        &self.pem
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// How long it holds.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Signs a new intermediate for a cluster.
    ///
    /// # Errors
    /// Where the cluster is not a name or signing fails.
    pub fn cluster_authority(
        &self,
        cluster: &str,
        now: Timestamp,
    ) -> Result<ClusterAuthority, IdentityError> {
        let uri = cluster_uri(&self.trust_domain, cluster)?;
        let validity = validity_within(now, CLUSTER_AUTHORITY_LIFE, self.validity)
            .ok_or_else(|| IdentityError::Expired(self.trust_domain.clone()))?;
        let mut params = authority_params(format!("gatefleet cluster {cluster}"), validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.subject_alt_names = vec![uri_name(&uri)?];
        params.use_authority_key_identifier_extension = true;
        let key = generate_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(sign_error("intermediate"))?;
        let pem = AuthorityPem { certificate: certificate.pem(), key: KeyPem::new(key.serialize_pem()) };
        Ok(ClusterAuthority {
            issuer: Issuer::new(params, key),
            pem,
            trust_domain: self.trust_domain.clone(),
            cluster: cluster.to_owned(),
            validity,
        })
    }
}

/// A cluster's intermediate. Lives in the relay; signs the cluster's workloads and the relay's own server certificate.
#[derive(Debug)]
pub struct ClusterAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: AuthorityPem,
    trust_domain: String,
    cluster: String,
    validity: Validity,
}

impl ClusterAuthority {
    /// Reads an intermediate that [`Self::pem`] gave.
    ///
    /// # Errors
    /// Where certificate or key are malformed.
    pub fn from_pem(pem: AuthorityPem) -> Result<Self, IdentityError> {
        let (certificate, issuer) = load(&pem)?;
        let (trust_domain, cluster) = cluster_of(&certificate)?;
        Ok(Self { issuer, pem, trust_domain, cluster, validity: validity_of(&certificate)? })
    }

    /// Certificate and key, for storage.
    #[must_use]
    pub fn pem(&self) -> &AuthorityPem {
        &self.pem
    }

    /// The trust domain that it signs in.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The cluster that it signs for.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// How long it holds.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Signs the public key of a request for an attested identity. Nothing else of the request is used.
    ///
    /// # Errors
    /// Where the request is malformed, the identity is of another cluster, or the authority has expired.
    pub fn issue(
        &self,
        request_pem: &str,
        identity: &WorkloadIdentity,
        now: Timestamp,
    ) -> Result<IssuedCertificate, IdentityError> {
        if request_pem.len() > REQUEST_LIMIT {
            return Err(IdentityError::RequestSize { got: request_pem.len(), limit: REQUEST_LIMIT });
        }
        let uri = identity.spiffe_uri()?;
        if identity.cluster != self.cluster || identity.trust_domain != self.trust_domain {
            return Err(IdentityError::ForeignCluster { authority: self.cluster.clone(), identity: uri });
        }
        let request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(IdentityError::Request)?;
        let mut params = leaf_params(&identity.node_id(), self.leaf_validity(now, WORKLOAD_LIFE)?);
        params.subject_alt_names = vec![uri_name(&uri)?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (chain_pem, validity) = self.sign(&params, &request.public_key, now, WORKLOAD_LIFE)?;
        Ok(IssuedCertificate { chain_pem, not_before: validity.not_before, not_after: validity.not_after })
    }

    /// Makes a key and a server certificate for DNS names or addresses; the first name is the subject.
    ///
    /// # Errors
    /// Where a name is not valid, none is given, or the authority has expired.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<ServerCertificate, IdentityError> {
        let subject =
            names.first().ok_or(IdentityError::Name { part: "server name", value: String::new() })?;
        let mut params = leaf_params(subject, self.leaf_validity(now, SERVER_LIFE)?);
        params.subject_alt_names = names.iter().map(|name| host_name(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = generate_key()?;
        let (chain_pem, validity) = self.sign(&params, &key, now, SERVER_LIFE)?;
        let key = KeyPem::new(key.serialize_pem());
        Ok(ServerCertificate {
            chain_pem,
            key,
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }

    fn leaf_validity(&self, now: Timestamp, life: SignedDuration) -> Result<Validity, IdentityError> {
        validity_within(now, life, self.validity).ok_or_else(|| IdentityError::Expired(self.cluster.clone()))
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<(String, Validity), IdentityError> {
        let certificate = params.signed_by(key, &self.issuer).map_err(sign_error("leaf"))?;
        let chain = format!("{}{}", certificate.pem(), self.pem.certificate);
        Ok((chain, self.leaf_validity(now, life)?))
    }
}

fn load(
    pem: &AuthorityPem,
) -> Result<(rustls_pki_types::CertificateDer<'static>, Issuer<'static, KeyPair>), IdentityError> {
    let mut certificates = certificates_from_pem(&pem.certificate)?;
    let certificate = certificates.swap_remove(0);
    let key =
        KeyPair::from_pem(pem.key.expose()).map_err(|_| IdentityError::Pem { what: "authority key" })?;
    let issuer = Issuer::from_ca_cert_der(&certificate, key)
        .map_err(|_| IdentityError::Pem { what: "authority certificate" })?;
    Ok((certificate, issuer))
}

fn generate_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(sign_error("key"))
}

fn sign_error(what: &'static str) -> impl Fn(rcgen::Error) -> IdentityError {
    move |source| IdentityError::Sign { what, source }
}

fn validity_from(now: Timestamp, life: SignedDuration) -> Validity {
    // Whole seconds, as certificates know nothing finer.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Validity {
        not_before: now.checked_sub(BACKDATE).unwrap_or(now),
        not_after: now.checked_add(life).unwrap_or(Timestamp::MAX),
    }
}

/// `life` from now, cut where the signer ends; none once the signer has ended.
fn validity_within(now: Timestamp, life: SignedDuration, signer: Validity) -> Option<Validity> {
    let mut validity = validity_from(now, life);
    validity.not_after = validity.not_after.min(signer.not_after);
    (validity.not_after > now).then_some(validity)
}

fn authority_params(name: String, validity: Validity) -> CertificateParams {
    let mut params = leaf_params(&name, validity);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    params
}

fn leaf_params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |moment: Timestamp| std::time::Duration::from_secs(moment.as_second().unsigned_abs());
    params.not_before = epoch + since(validity.not_before);
    params.not_after = epoch + since(validity.not_after);
    params
}

fn uri_name(uri: &str) -> Result<SanType, IdentityError> {
    let name = uri.try_into().map_err(|_| IdentityError::Uri(uri.to_owned()))?;
    Ok(SanType::URI(name))
}

fn host_name(name: &str) -> Result<SanType, IdentityError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    crate::workload::check_part("server name", name)?;
    let dns =
        name.try_into().map_err(|_| IdentityError::Name { part: "server name", value: name.to_owned() })?;
    Ok(SanType::DnsName(dns))
}
