// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The command line.

use crate::demo_backend::DemoBackendArgs;
use crate::up::UpArgs;
use clap::{Parser, Subcommand};
use operator_runtime::OperatorArgs;

/// Gateways for many clusters: declare a fleet, roll it out in waves.
#[derive(Debug, Parser)]
#[command(name = "gatefleet", version, arg_required_else_help = true)]
pub struct GatefleetArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator: hub, relay or both.
    Operator(Box<OperatorArgs>),
    /// Runs a whole fleet on this machine from a folder of YAML, without Kubernetes.
    Up(UpArgs),
    /// Serves a small HTTP backend that says what it was asked.
    DemoBackend(DemoBackendArgs),
}
