// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Progress on a terminal, or plain lines where there is none.

use super::fleet_state::FleetState;
use indicatif::{ProgressBar, ProgressStyle};
use operator_runtime::objects::FolderProblem;
use std::io::IsTerminal;
use std::time::Duration;

/// Shows what is going on, on standard error.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    revision: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, last: String::new(), revision: String::new() }
    }

    /// Shows the state of a fleet that is starting.
    pub(super) fn show(&mut self, state: &FleetState) {
        let parts = state
            .rows()
            .into_iter()
            .map(|r| format!("{} {}/{} ready, {} acked", r.cluster, r.ready, r.desired, r.acked));
        let text = format!("starting: {}", parts.collect::<Vec<_>>().join("; "));
        self.revision = revision_of(state);
        if text == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(text.clone()),
            None => eprintln!("{text}"),
        }
        self.last = text;
    }

    /// Tells that a new revision is served everywhere.
    pub(super) fn revision(&mut self, state: &FleetState) {
        let now = revision_of(state);
        if state.serves() && now != self.revision {
            self.note(&format!("serving {now}"));
            self.revision = now;
        }
    }

    /// Tells a problem of the folder.
    pub(super) fn problem(&self, problem: &FolderProblem) {
        self.note(&format!("{problem} (what was good before goes on)"));
    }

    /// Tells one thing.
    pub(super) fn note(&self, text: &str) {
        match self.bar.as_ref().filter(|bar| !bar.is_finished()) {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Ends the display.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn revision_of(state: &FleetState) -> String {
    let mut revisions: Vec<_> = state.rows().into_iter().map(|row| row.revision).collect();
    revisions.dedup();
    revisions.join(", ")
}
