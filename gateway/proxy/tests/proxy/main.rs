// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A running proxy between real clients and real servers on loopback, configured by Envoy resources.

mod body;
mod client;
mod config;
mod drain;
mod forwarding;
mod gateway;
mod head_guard;
mod origin;
mod plugins;
mod protocols;
mod retries;
mod routing;
mod tls;
mod upgrades;
