// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What goes wrong between the gateway and its relay.

use std::path::PathBuf;

/// A stream could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no authority.
    #[error("relay address {0:?} is invalid; write host:port")]
    Address(String, #[source] tonic::transport::Error),
    /// The trust bundle could not be read.
    #[error("cannot read trust bundle {path}")]
    TrustBundle {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file of roots, a certificate or a key could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// TLS settings were refused.
    #[error("certificate or trust bundle cannot be used for tls")]
    Tls(#[source] tonic::transport::Error),
    /// No connection.
    #[error("cannot connect to relay {0}")]
    Connect(String, #[source] tonic::transport::Error),
    /// The relay refused the stream or ended it with an error.
    #[error("relay ended the stream with {code:?}: {message}")]
    Stream {
        /// The gRPC code.
        code: tonic::Code,
        /// The relay's text.
        message: String,
    },
    /// The relay ended the stream without an error.
    #[error("relay closed the stream")]
    Closed,
    /// A step took too long.
    #[error("{0} took longer than {1:?}")]
    Timeout(&'static str, std::time::Duration),
    /// The relay does not read what is sent to it.
    #[error("relay does not read the stream")]
    Stalled,
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Stream { code: status.code(), message: status.message().to_owned() }
    }
}

/// A call to the relay's HTTPS port failed.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The server name cannot be verified against.
    #[error("server name {0:?} is invalid")]
    ServerName(String, #[source] rustls_pki_types::InvalidDnsNameError),
    /// The trust bundle could not be used.
    #[error("trust bundle {path} holds no usable certificate")]
    TrustBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS settings were refused.
    #[error("tls settings are not usable")]
    Tls(#[source] rustls::Error),
    /// No connection, or the server is not who it should be.
    #[error("cannot connect to relay {address}")]
    Connect {
        /// Its address.
        address: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The exchange broke.
    #[error("request to relay failed")]
    Http(#[source] hyper::Error),
    /// The request could not be written.
    #[error("request to relay is malformed")]
    Request(#[source] http::Error),
    /// The answer is larger than allowed, or broke off.
    #[error("answer of relay broke off or is larger than {limit} bytes")]
    Body {
        /// The limit.
        limit: usize,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The relay said no.
    #[error("relay answered {status}: {message}")]
    Refused {
        /// The status.
        status: http::StatusCode,
        /// The first bytes of its answer.
        message: String,
    },
    /// Too slow.
    #[error("relay did not answer within {0:?}")]
    Timeout(std::time::Duration),
}

/// No certificate was obtained.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No key or request could be made.
    #[error("cannot make a key pair and certificate request")]
    Request(#[source] rcgen::Error),
    /// The token could not be read.
    #[error("cannot read token {path}")]
    Token {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The relay could not be asked, or refused.
    #[error("relay issued no certificate")]
    Relay(#[source] RelayError),
    /// The answer is not the agreed one.
    #[error("answer of issuer is malformed")]
    Answer(#[source] serde_json::Error),
    /// The chain is not what was asked for.
    #[error("issued certificate is not usable: {0}")]
    Certificate(&'static str),
}
