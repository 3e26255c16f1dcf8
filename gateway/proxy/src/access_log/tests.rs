// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A stuck writer never stops the request path, and every line is written or counted.

use super::{AccessLogSink, LogWriter, QUEUE, writer};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_writer_drops_lines_and_counts_them() {
    let buffer = Buffer::default();
    let stuck = buffer.0.lock();
    let sink = AccessLogSink::start(Box::new(buffer.clone())).unwrap();
    let log = LogWriter::new(Arc::clone(&sink), Rc::default());
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    let count = (QUEUE + 10) * writer::FULL / line.len();
    for _ in 0..count {
        log.line(|out| out.extend_from_slice(&line));
    }
    let dropped = sink.dropped.load(Ordering::Relaxed);
    assert!(dropped > 0, "{dropped}");
    drop(stuck);
    // What is in its buffer is handed over with the worker's end.
    drop(log);
    let dropped = sink.dropped.load(Ordering::Relaxed);
    sink.close();
    let lines = buffer.0.lock().iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines as u64 + dropped, count as u64);
}
