// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gatefleet command.

mod args;
mod demo_backend;
mod up;

pub use args::{Command, GatefleetArgs};

use std::process::ExitCode;

/// Runs one command to its end.
///
/// # Errors
/// Where the command cannot do what it was asked; the message names what to change.
pub async fn run(args: GatefleetArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Operator(args) => operator_runtime::operator(*args).await.map(|()| ExitCode::SUCCESS),
        Command::Up(args) => up::run(args).await,
        Command::DemoBackend(args) => demo_backend::run(args).await.map(|()| ExitCode::SUCCESS),
    }
}
