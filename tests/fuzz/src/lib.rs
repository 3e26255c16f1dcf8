// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What must hold for any bytes that a stranger or a control plane sends. Each target is one function: it panics where something does
//! not hold. The program of this crate runs them on seeded mutations; `libfuzzer/` runs the same functions under libFuzzer.

mod configuration;
mod corpus;
mod traffic;

pub use corpus::{Seeds, dictionary, seeds};

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Panics where something does not hold for the bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 11] = [
    Target { name: "request-head", run: traffic::request_head },
    Target { name: "chunked-body", run: traffic::chunked_body },
    Target { name: "proxy-protocol", run: traffic::proxy_protocol },
    Target { name: "path", run: traffic::path },
    Target { name: "tls-hello", run: traffic::tls_hello },
    Target { name: "preface", run: traffic::preface },
    Target { name: "frames", run: traffic::frames },
    Target { name: "jwt", run: traffic::jwt },
    Target { name: "grpc-web", run: traffic::grpc_web },
    Target { name: "xds", run: configuration::xds },
    Target { name: "access-log", run: configuration::access_log },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
