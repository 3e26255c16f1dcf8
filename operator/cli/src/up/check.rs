// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `up --once`: one request through each cluster.

use super::fleet_state::FleetState;
use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;

/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Asks every cluster once and tells what answered.
pub(super) async fn every_cluster(state: &FleetState) -> anyhow::Result<ExitCode> {
    let host = state.hosts().first().map_or("localhost", String::as_str);
    let endpoints = state.endpoints();
    if endpoints.is_empty() {
        bail!("no member has an address to ask; a fleet needs template.listeners");
    }
    for (cluster, address) in endpoints {
        let asked = tokio::time::timeout(LIMIT, ask(&address, host)).await;
        let (status, body) = asked
            .with_context(|| format!("cluster {cluster}: no answer from {address} in {} s", LIMIT.as_secs()))?
            .with_context(|| format!("cluster {cluster}: asking {address}"))?;
        if !status.is_success() {
            bail!("cluster {cluster}: {address} answered {status} for host {host}: {body}");
        }
        report(&cluster, &address, status, body.trim());
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "the answers are this command's output")]
fn report(cluster: &str, address: &str, status: http::StatusCode, body: &str) {
    println!("{cluster}: {address} answered {status} {body}");
}

async fn ask(address: &str, host: &str) -> anyhow::Result<(http::StatusCode, String)> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::get("/").header("host", host).body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), 64 * 1024)
        .collect()
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))?
        .to_bytes();
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
