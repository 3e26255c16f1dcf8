// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Arguments of `gatefleet-gateway`.

use clap::Parser;
use gateway_telemetry::{LogFormat, LogOptions};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The gateway of a fleet: serves traffic as its relay says.
#[derive(Debug, Parser)]
#[command(name = "gatefleet-gateway", version)]
pub(crate) struct Args {
    /// The bootstrap file (YAML).
    #[arg(long, env = "GATEFLEET_BOOTSTRAP", value_name = "FILE")]
    pub(crate) bootstrap: PathBuf,
    /// How log lines look: json or text.
    #[arg(long, env = "GATEFLEET_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Which log lines are written, such as info,gateway_proxy=debug.
    #[arg(long, env = "GATEFLEET_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Bind a listener elsewhere than configured, for trials on one machine; may be repeated.
    #[arg(long, value_name = "LISTENER=ADDRESS", value_parser = bind)]
    pub(crate) bind: Vec<(String, SocketAddr)>,
    /// Take the place of the gateway that runs with the same state folder, if one does: its sockets are used, it is told to drain, and no
    /// connection is refused.
    #[arg(long)]
    pub(crate) take_over: bool,
}

impl Args {
    pub(crate) fn log_options(&self) -> LogOptions {
        LogOptions { format: self.log_format, filter: self.log.clone() }
    }
}

fn bind(text: &str) -> Result<(String, SocketAddr), String> {
    let (listener, address) = text.split_once('=').ok_or("write LISTENER=ADDRESS:PORT")?;
    let address = address.parse().map_err(|_| format!("{address:?} is no address:port"))?;
    Ok((listener.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::Parser;

    #[test]
    fn arguments_read_and_refuse() {
        let parse = |args: &[&str]| Args::try_parse_from([&["gatefleet-gateway"], args].concat());
        let args = parse(&["--bootstrap", "b.yaml", "--bind", "listener/80=127.0.0.1:9000"]).unwrap();
        assert_eq!(args.bind, [("listener/80".to_owned(), "127.0.0.1:9000".parse().unwrap())]);
        for refused in
            [&["--bootstrap", "b", "--bind", "x"][..], &["--bootstrap", "b", "--log-format", "xml"]]
        {
            assert!(parse(refused).is_err(), "{refused:?}");
        }
    }
}
