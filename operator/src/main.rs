// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gatefleet binary: operator and command line.

use clap::Parser;
use mimalloc::MiMalloc;
use operator_cli::GatefleetArgs;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // The one crypto provider; a second install would be a programming error that changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match operator_cli::run(GatefleetArgs::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gatefleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
