// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the upstream is told about the client's certificate (`x-forwarded-client-cert`).

/// Treatment of `x-forwarded-client-cert` (`HttpConnectionManager.forward_client_cert_details`, `set_current_client_cert_details`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificateHeader {
    /// What becomes of the header.
    pub mode: ClientCertificateMode,
    /// The subject is told.
    pub subject: bool,
    /// The certificate is told, as URL-encoded PEM.
    pub certificate: bool,
    /// DNS names are told.
    pub dns: bool,
    /// URIs are told.
    pub uri: bool,
}

/// What becomes of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// It does not go on.
    #[default]
    Sanitize,
    /// A client with a certificate may send it on.
    ForwardOnly,
    /// The same, and this connection's certificate is added.
    AppendForward,
    /// This connection's certificate replaces it.
    SanitizeSet,
    /// It goes on, whoever sent it.
    AlwaysForwardOnly,
}
