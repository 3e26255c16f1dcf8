// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Hostile and impatient clients against a running gateway. Each subcommand is one suite: it starts a proxy with its default limits and
//! servers behind it on loopback, prints one line for each check, writes a report and ends with 1 where a check failed.

mod framing;
mod gateway;
mod h2spec;
mod origin;
mod report;
mod resources;
mod wire;

use clap::{Parser, Subcommand};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Hostile and impatient clients against a running gateway.
#[derive(Debug, Parser)]
struct Args {
    /// Where to write what was found (JSON).
    #[arg(long, value_name = "FILE", global = true)]
    report: Option<PathBuf>,
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The HTTP/2 conformance cases of h2spec, over TLS and in plain text, strict and not.
    H2spec {
        /// The program h2spec.
        #[arg(long)]
        tool: PathBuf,
    },
    /// The request-framing corpus of http_desync_guardian.
    Framing {
        /// The folder of its test cases.
        #[arg(long)]
        corpus: PathBuf,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // Fails only where a provider was installed before, and nobody could.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        match args.suite {
            Suite::H2spec { tool } => h2spec::run(&mut report, &tool).await,
            Suite::Framing { corpus } => framing::run(&mut report, &corpus).await,
        }
    })?;
    report.finish(args.report.as_deref())
}
