// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Delta ADS client: subscriptions, ACK and NACK, reconnects, workload certificates.
//!
//! [`Subscriptions`] and [`Session`] are pure: what is wanted and held, and what one stream was told of it. [`Client`] is
//! the shell that carries them over gRPC; [`WorkloadIdentity`] obtains and renews the certificate that the stream is
//! authenticated by. A [`Consumer`] applies what arrives.
//!
//! Invariants:
//! - An update is acknowledged only after the consumer applied it; a rejected version is never reported as held.
//! - One rejected resource does not hold the others of its response back.
//! - The private key never leaves memory.

mod backoff;
mod certificate;
mod client;
mod consumer;
mod error;
mod identity;
mod node;
mod relay;
mod session;
mod sotw;
mod status;
mod stream;
mod subscription;

pub use backoff::Backoff;
pub use certificate::WorkloadCertificate;
pub use client::{Client, ClientOptions, Security};
pub use consumer::{Applied, Consumer, Preparation, Rejection, Update, Upsert, Wanted};
pub use error::{ClientError, IdentityError, RelayError};
pub use identity::{CertificateWatch, IdentityOptions, WorkloadIdentity};
pub use node::{GATEWAY_USER_AGENT, NodeIdentity};
pub use relay::{RelayClient, RelayOptions};
pub use session::Session;
pub use status::{ClientStatus, StatusView, TypeStatus};
pub use stream::Protocol;
pub use subscription::{Received, Subscriptions};
