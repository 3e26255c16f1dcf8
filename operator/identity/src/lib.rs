// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Fleet certificate authorities and workload certificates.
//!
//! The hub holds a [`FleetAuthority`] (root). It signs one [`ClusterAuthority`] for each member cluster, which the
//! cluster's relays hold: it can sign only leaves (path length 0), and [`peer_identity`] accepts from it only
//! identities of its own cluster. Relays sign short-lived workload certificates whose names come from the attested
//! [`WorkloadIdentity`], never from the request.
//!
//! Invariants:
//! - A chain that a peer presents is exactly leaf and intermediate; so the intermediate seen is the one that signed.
//! - No private key appears in `Debug` output or in an error.

mod authority;
mod error;
mod pem;
mod rotation;
mod verify;
mod workload;

pub use authority::{
    CLUSTER_AUTHORITY_LIFE, ClusterAuthority, FleetAuthority, ROOT_LIFE, SERVER_LIFE, WORKLOAD_LIFE,
};
pub use error::IdentityError;
pub use pem::{
    AuthorityPem, IssuedCertificate, KeyPem, ServerCertificate, certificates_from_pem, key_from_pem,
};
pub use rotation::{Validity, rotate_at, rotate_at_random};
pub use verify::{PeerChain, peer_identity, validity_of};
pub use workload::{FleetName, WorkloadIdentity};
