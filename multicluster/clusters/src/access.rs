// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sanitised credentials of a cluster.

use crate::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;

/// How to reach a cluster.
#[derive(Clone)]
pub enum Access {
    /// With a client that exists: the hub's own cluster.
    Existing(kube::Client),
    /// With credentials from a Secret.
    Api(Box<ApiAccess>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Existing(_) => f.write_str("Existing"),
            Self::Api(api) => api.fmt(f),
        }
    }
}

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Existing(_), Self::Existing(_)) => true,
            (Self::Api(a), Self::Api(b)) => a == b,
            _ => false,
        }
    }
}

/// An API server and who we are to it. Holds bytes only: no path, no program, no proxy.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// Base URL of the API server.
    pub server: http::Uri,
    /// Name that the server's certificate must have, if not the host of `server`.
    pub server_name: Option<String>,
    /// Roots for the server's certificate, DER. None: the system's roots.
    pub roots: Option<Vec<Vec<u8>>>,
    /// The server's certificate is not checked. Needs `allowInsecure` on the FleetCluster.
    pub insecure: bool,
    /// Who we are.
    pub credential: Credential,
    /// User to act as.
    pub impersonate: Option<String>,
    /// Groups to act as.
    pub impersonate_groups: Vec<String>,
}

impl PartialEq for ApiAccess {
    fn eq(&self, other: &Self) -> bool {
        self.server == other.server
            && self.server_name == other.server_name
            && self.roots == other.roots
            && self.insecure == other.insecure
            && self.credential == other.credential
            && self.impersonate == other.impersonate
            && self.impersonate_groups == other.impersonate_groups
    }
}

/// Who we are to an API server.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A bearer token.
    Token(SecretString),
    /// A client certificate: PEM of the chain and of the key.
    Certificate {
        /// PEM of the chain.
        chain: Vec<u8>,
        /// PEM of the private key, base64.
        key: SecretString,
    },
    /// A user name and password.
    Basic {
        /// User.
        username: String,
        /// Password.
        password: SecretString,
    },
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &SecretString, b: &SecretString| a.expose_secret() == b.expose_secret();
        match (self, other) {
            (Self::Token(a), Self::Token(b)) => same(a, b),
            (Self::Certificate { chain: c1, key: k1 }, Self::Certificate { chain: c2, key: k2 }) => {
                c1 == c2 && same(k1, k2)
            }
            (Self::Basic { username: u1, password: p1 }, Self::Basic { username: u2, password: p2 }) => {
                u1 == u2 && same(p1, p2)
            }
            _ => false,
        }
    }
}

/// The kind of a credential, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// The hub's own account.
    Local,
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
    /// A user name and password.
    Basic,
}

impl CredentialKind {
    /// As written in status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::Token => "Token",
            Self::Certificate => "ClientCertificate",
            Self::Basic => "Basic",
        }
    }
}

impl Access {
    /// The kind of its credential.
    #[must_use]
    pub fn credential_kind(&self) -> CredentialKind {
        match self {
            Self::Existing(_) => CredentialKind::Local,
            Self::Api(api) => match api.credential {
                Credential::Token(_) => CredentialKind::Token,
                Credential::Certificate { .. } => CredentialKind::Certificate,
                Credential::Basic { .. } => CredentialKind::Basic,
            },
        }
    }
}

/// Checks an API server's URL.
pub(crate) fn server_url(
    object: &str,
    field: &str,
    text: &str,
    allow_insecure: bool,
) -> Result<http::Uri, Refusal> {
    const REMEDY: &str = "write the API server's URL as https://host:port";
    let uri: http::Uri =
        text.trim().parse().map_err(|_| Refusal::new(object, field, "is not a URL", REMEDY))?;
    let authority = uri.authority().ok_or_else(|| Refusal::new(object, field, "has no host", REMEDY))?;
    if authority.as_str().contains('@') {
        return Err(Refusal::new(
            object,
            field,
            "holds a user name",
            "put the credentials into the user's fields",
        ));
    }
    if uri.query().is_some() {
        return Err(Refusal::new(object, field, "has a query", REMEDY));
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if allow_insecure => Ok(uri),
        Some("http") => Err(Refusal::new(
            object,
            field,
            "sends credentials in clear text over http://",
            "use https://, or set allowInsecure: true on the FleetCluster",
        )),
        _ => Err(Refusal::new(object, field, "is neither https:// nor http://", REMEDY)),
    }
}

/// Decodes base64 into PEM and the PEM into certificates.
pub(crate) fn certificates(object: &str, field: &str, data: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    const REMEDY: &str = "give base64 of PEM certificates";
    let pem = decode(object, field, data)?;
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).map(|c| c.map(|c| c.to_vec())).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(Refusal::new(object, field, "holds no certificate", REMEDY)),
        Err(_) => Err(Refusal::new(object, field, "is not PEM", REMEDY)),
    }
}

/// Decodes base64 that may be broken into lines.
pub(crate) fn decode(object: &str, field: &str, data: &str) -> Result<Vec<u8>, Refusal> {
    let compact: String = data.split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|_| Refusal::new(object, field, "is not base64", "give base64 of PEM"))
}

/// A client certificate from two fields that hold base64 of PEM.
pub(crate) fn client_certificate(
    object: &str,
    fields: [&str; 2],
    chain: &str,
    key: &str,
) -> Result<Credential, Refusal> {
    certificates(object, fields[0], chain)?;
    let chain = decode(object, fields[0], chain)?;
    let key_pem = decode(object, fields[1], key)?;
    if rustls_pki_types::PrivateKeyDer::from_pem_slice(&key_pem).is_err() {
        return Err(Refusal::new(
            object,
            fields[1],
            "holds no private key",
            "give base64 of a PEM private key",
        ));
    }
    let key: String = key.split_ascii_whitespace().collect();
    Ok(Credential::Certificate { chain, key: key.into() })
}
