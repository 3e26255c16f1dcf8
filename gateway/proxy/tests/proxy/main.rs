// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A running proxy between real clients and real servers on loopback, configured by Envoy resources.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is the failure"
)]

mod access_log;
mod affinity;
mod body;
mod client;
mod client_certificates;
mod compression;
mod config;
mod credentials;
mod drain;
mod ext_authz;
mod ext_proc;
mod filters;
mod forwarding;
mod gates;
mod gateway;
mod grpc_web;
mod head_guard;
mod health_check;
mod jwt_authn;
mod local_rate_limit;
mod oauth2;
mod origin;
mod own_headers;
mod plugins;
mod processor;
mod protocols;
mod rate_limit;
mod rest;
mod retries;
mod routing;
mod services;
mod tcp;
mod tls;
mod traces;
mod udp;
mod upgrades;
