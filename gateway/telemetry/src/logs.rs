// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Log set-up: JSON or text on standard error, a filter that can be changed while running.

use crate::TelemetryError;
use std::str::FromStr;
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    #[default]
    Text,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("log format {other:?} is unknown; use json or text")),
        }
    }
}

/// What a binary's flags or environment say about logs.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// Filter in `tracing` syntax, such as `info,gateway_proxy=debug`.
    pub filter: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

/// Changes the log filter of the running process.
#[derive(Clone)]
pub struct LogHandle {
    reload: Arc<reload::Handle<EnvFilter, Registry>>,
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogHandle").finish_non_exhaustive()
    }
}

impl LogHandle {
    /// Replaces the filter.
    ///
    /// # Errors
    /// Where the text is no filter; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        self.reload.reload(parse(filter)?).map_err(TelemetryError::Reload)
    }

    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> String {
        self.reload.with_current(ToString::to_string).unwrap_or_default()
    }
}

/// Sets logs up for the process; call it once, first thing.
///
/// # Errors
/// Where the filter is invalid or logs were set up before.
pub fn init_logs(options: &LogOptions) -> Result<LogHandle, TelemetryError> {
    let (filter, handle) = reload::Layer::new(parse(&options.filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match options.format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(TelemetryError::LogsTwice)?;
    Ok(LogHandle { reload: Arc::new(handle) })
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::{LogFormat, LogOptions, init_logs};

    #[test]
    fn the_filter_changes_while_running_and_a_bad_one_is_refused() {
        let handle = init_logs(&LogOptions { format: LogFormat::Json, filter: "warn".into() }).unwrap();
        assert!(!tracing::enabled!(tracing::Level::INFO));
        handle.set_filter("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        let refused = handle.set_filter("a=b=c").unwrap_err();
        assert!(refused.to_string().contains("a=b=c"), "{refused}");
        assert_eq!(handle.filter(), "debug");
        assert!(init_logs(&LogOptions::default()).is_err(), "logs are set up once");
    }

    #[test]
    fn formats_are_named() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("use json or text"));
    }
}
