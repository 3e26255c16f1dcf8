// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a suite found: one line for each check, figures, and a file for the runner.

use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The checks of a suite.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<String>,
    figures: Map<String, Value>,
}

impl Report {
    /// Counts a check; `why` is told where it failed.
    pub(crate) fn check(&mut self, name: &str, good: bool, why: impl FnOnce() -> String) -> bool {
        if good {
            self.passed += 1;
        } else {
            let line = format!("{name}: {}", why());
            say(&format!("  FAILED {line}"));
            self.failed.push(line);
        }
        good
    }

    /// Notes a number and shows it.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        say(&format!("  {name}: {value}"));
        self.figures.insert(name.to_owned(), value);
    }

    /// Writes the report and gives the process's end.
    pub(crate) fn finish(self, to: Option<&Path>) -> anyhow::Result<ExitCode> {
        say(&format!("{} passed, {} failed", self.passed, self.failed.len()));
        let code = if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if let Some(path) = to {
            let mut body = self.figures;
            body.insert("passed".into(), json!(self.passed));
            body.insert("failed".into(), json!(self.failed));
            std::fs::write(path, serde_json::to_vec_pretty(&Value::Object(body))?)?;
        }
        Ok(code)
    }
}

/// A line for whoever looks on.
pub(crate) fn say(line: &str) {
    // Nobody has to look on.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
