// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The HTTP/2 conformance cases of h2spec: 145, and 146 with the strict ones.

use crate::gateway::{Certificate, Gateway};
use crate::origin::Origin;
use crate::report::{Report, say};
use crate::resources::{Speaks, cluster, listener, table};
use anyhow::Context;
use gateway_proxy::ProxyOptions;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// One run of all cases takes far less, unless cases run into their time limits.
const LIMIT: Duration = Duration::from_secs(180);
/// Seconds that h2spec waits for a frame.
const PATIENCE: &str = "3";

/// Runs h2spec over TLS with ALPN and in plain text.
pub(crate) async fn run(report: &mut Report, tool: &Path) -> anyhow::Result<()> {
    let origin = Origin::start("h2spec").await?;
    let certificate = Certificate::new("localhost")?;
    let gateway = Gateway::start(
        ProxyOptions::default(),
        vec![
            cluster("origin", &[origin.address], false),
            certificate.secret("certificate"),
            table("table", &[("/", "origin")]),
            listener("h2c", Speaks::Http2, "table"),
            listener("tls", Speaks::Tls("certificate"), "table"),
        ],
    )
    .await?;
    for (name, tls) in [("h2c", false), ("tls", true)] {
        for (strict, wanted) in [(false, 145), (true, 146)] {
            let port = gateway.address(name)?.port();
            let mut text = cases(tool, port, tls, strict).await?;
            if passed(&text) != Some(wanted) {
                // Some cases race an answer against a reset: what fails twice is a fault.
                say(&format!("  once more: {}", failures(&text)));
                text = cases(tool, port, tls, strict).await?;
            }
            let passed = passed(&text).unwrap_or(0);
            let name = format!("{name}{}", if strict { " strict" } else { "" });
            report.figure(&name, passed);
            report.check(&name, passed == wanted, || {
                format!("{passed} of {wanted} cases pass\n{}", failures(&text))
            });
        }
    }
    Ok(())
}

/// Runs all cases once and gives what h2spec says.
async fn cases(tool: &Path, port: u16, tls: bool, strict: bool) -> anyhow::Result<String> {
    let mut command = Command::new(tool);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-o", PATIENCE]);
    command.args(tls.then_some(["-t", "-k"]).into_iter().flatten());
    command.args(strict.then_some("-S"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("h2spec takes too long")??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads `145 tests, 145 passed, 0 skipped, 0 failed`.
fn passed(text: &str) -> Option<u64> {
    let line = text.lines().rev().find(|line| line.contains(" tests, "))?;
    line.split(", ").find_map(|part| part.strip_suffix(" passed"))?.trim().parse().ok()
}

fn failures(text: &str) -> String {
    let failures = text.split_once("Failures:").map_or(text, |(_, after)| after);
    failures.lines().filter(|line| !line.trim().is_empty()).take(40).collect::<Vec<_>>().join("\n")
}
