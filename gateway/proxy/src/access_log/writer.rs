// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A worker's side of the logs: buffers that fill up and are handed over.

use super::{AccessLogSink, AccessLogs, Batch};
use crate::format::{Values, write_json, write_text};
use gateway_config::{LogFormat, LogLine};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A buffer of this size is handed over at once.
pub(super) const FULL: usize = 32 * 1024;
/// The longest that a line waits in its buffer.
const FLUSH: Duration = Duration::from_millis(50);

/// The logs that one worker writes to.
#[derive(Debug, Default)]
pub(crate) struct WorkerLogs {
    writers: RefCell<HashMap<Box<str>, Rc<LogWriter>>>,
    waiting: Rc<Notify>,
}

/// One log on one worker.
#[derive(Debug)]
pub(crate) struct LogWriter {
    sink: Arc<AccessLogSink>,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    waiting: Rc<Notify>,
}

impl WorkerLogs {
    /// The log at a path; none where it can not be opened, which is reported.
    pub(crate) fn writer(&self, path: &str, logs: &AccessLogs) -> Option<Rc<LogWriter>> {
        if let Some(found) = self.writers.borrow().get(path) {
            return Some(Rc::clone(found));
        }
        match logs.sink(path) {
            Ok(sink) => {
                let made = Rc::new(LogWriter::new(sink, Rc::clone(&self.waiting)));
                self.writers.borrow_mut().insert(path.into(), Rc::clone(&made));
                Some(made)
            }
            Err(error) => {
                tracing::error!(path, %error, "access log can not be opened");
                None
            }
        }
    }

    /// Hands over what waits too long; never ends.
    pub(crate) async fn flush(self: Rc<Self>) {
        loop {
            self.waiting.notified().await;
            tokio::time::sleep(FLUSH).await;
            self.writers.borrow().values().for_each(|writer| writer.hand_over());
        }
    }
}

impl LogWriter {
    pub(super) fn new(sink: Arc<AccessLogSink>, waiting: Rc<Notify>) -> Self {
        Self { sink, buffer: RefCell::default(), lines: Cell::new(0), waiting }
    }

    /// Writes the line of a request, or of a session of datagrams.
    pub(crate) fn write(&self, format: &LogFormat, values: &Values<'_>) {
        let omit = format.omit_empty;
        self.line(|out| match &format.line {
            LogLine::Text(format) => write_text(out, format, values, if omit { "" } else { "-" }),
            LogLine::Json(format) => {
                write_json(out, format, values, omit);
                out.push(b'\n');
            }
        });
    }

    /// Adds a line; `write` appends it.
    pub(super) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.borrow_mut();
        write(&mut buffer);
        self.lines.set(self.lines.get() + 1);
        if buffer.len() >= FULL {
            drop(buffer);
            self.hand_over();
        } else if self.lines.get() == 1 {
            self.waiting.notify_one();
        }
    }

    fn hand_over(&self) {
        let lines = self.lines.replace(0);
        if lines > 0 {
            self.sink.take(Batch { bytes: self.buffer.take(), lines });
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.hand_over();
    }
}
