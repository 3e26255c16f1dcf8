// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Programs of the peer benchmark, one subcommand each; `tests/bench/peers` starts them and reads what they print.

mod bare;
mod control;
mod grpc_origin;
mod handshakes;
mod issuer;
mod report;
mod resources;
mod websocket;

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Programs of the peer benchmark.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// A reverse proxy of plain hyper: what the stack costs with no work of ours in it.
    Bare(bare::Options),
    /// A control plane with fixed resources; a host on a line of its input becomes one more virtual host.
    Control(control::Options),
    /// A gRPC server over HTTP/2 without TLS: one message of the given size for each request, and trailers.
    GrpcOrigin {
        /// Where to listen.
        listen: SocketAddr,
        /// Bytes of the message.
        bytes: usize,
    },
    /// TLS handshakes, one request each, in a closed loop.
    Handshakes {
        /// Whom to connect to.
        to: SocketAddr,
        /// The server's certificate, PEM.
        #[arg(long)]
        roots: PathBuf,
        /// Connections at a time.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// How long.
        #[arg(long, value_parser = seconds, default_value = "4")]
        seconds: Duration,
        /// Resume the session of the first handshake.
        #[arg(long)]
        resume: bool,
    },
    /// Messages over WebSocket, each waiting for its echo.
    Websocket {
        /// Whom to connect to.
        to: SocketAddr,
        /// Connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// How long.
        #[arg(long, value_parser = seconds, default_value = "4")]
        seconds: Duration,
        /// Bytes of a message.
        #[arg(long, default_value_t = 1024)]
        bytes: usize,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Fails only where a provider was installed before, and nobody could.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        match args.program {
            Program::Bare(options) => bare::run(options).await,
            Program::Control(options) => control::run(options).await,
            Program::GrpcOrigin { listen, bytes } => grpc_origin::run(listen, bytes).await,
            Program::Handshakes { to, roots, connections, seconds, resume } => {
                handshakes::run(to, &roots, connections, seconds, resume).await
            }
            Program::Websocket { to, connections, seconds, bytes } => {
                websocket::run(to, connections, seconds, bytes).await
            }
        }
    })
}
