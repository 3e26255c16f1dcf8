// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway process: arguments, runtimes, wiring.

mod admin;
mod allocator;
mod args;
mod certificates;
mod consumer;
mod dump;
mod last_good;
mod ledger;
mod memory_budget;
mod metrics;
mod place;
mod plugins;
mod process;
mod ready;
mod source;
mod stats;
mod takeover;

use clap::Parser;
use gateway_config::Bootstrap;
use gateway_telemetry::{LogHandle, init_logs};
use std::process::ExitCode;

/// Threads of the control runtime: one may compile configuration while the other answers probes.
const CONTROL_THREADS: usize = 2;

fn main() -> ExitCode {
    let args = args::Args::parse();
    // Fails only where a provider was installed before, and nobody could.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome =
        init_logs(&args.log_options()).map_err(anyhow::Error::from).and_then(|logs| run(&args, logs));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = format!("{error:#}"), "gateway ends");
            // Before logs are set up there is nobody to write that; the process's user still has to know.
            if !tracing::event_enabled!(tracing::Level::ERROR) {
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("gatefleet-gateway: {error:#}\n"),
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &args::Args, logs: LogHandle) -> anyhow::Result<()> {
    let bootstrap = read_bootstrap(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(process::run(bootstrap, args, logs));
    // What still runs is of no use to anyone.
    runtime.shutdown_background();
    outcome
}

fn read_bootstrap(args: &args::Args) -> anyhow::Result<Bootstrap> {
    use anyhow::Context;
    let path = args.bootstrap.display();
    let text =
        std::fs::read_to_string(&args.bootstrap).with_context(|| format!("cannot read bootstrap {path}"))?;
    let pod = std::env::var("POD_NAME").ok();
    Bootstrap::parse(&text, pod.as_deref()).with_context(|| format!("cannot use bootstrap {path}"))
}
