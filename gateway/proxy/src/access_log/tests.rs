// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The line's shape, and that a stuck writer never stops the request path.

use super::{AccessLogEntry, AccessLogSink, QUEUE};
use gateway_filter_api::ResponseFlags;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

fn entry() -> Box<AccessLogEntry> {
    Box::new(AccessLogEntry {
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        duration: Duration::from_micros(12_900),
        method: Method::GET,
        path: PathAndQuery::from_static("/a?b={c}"),
        protocol: Version::HTTP_2,
        status: 503,
        flags: ResponseFlags::NO_HEALTHY_UPSTREAM | ResponseFlags::RETRY_LIMIT,
        details: Some("no_healthy_upstream".into()),
        bytes_received: 1,
        bytes_sent: 19,
        upstream_host: None,
        upstream_cluster: Some("service/a/b/80".into()),
        upstream_attempts: 2,
        route_name: Some("httproute/a/b/0/0".into()),
        remote: ([127, 0, 0, 1], 5).into(),
        forwarded_for: Some(HeaderValue::from_static("1.2.3.4")),
        user_agent: Some(HeaderValue::from_bytes(b"x\xff").unwrap()),
        request_id: None,
        authority: HeaderValue::from_static("a.example"),
        server_name: None,
    })
}

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
fn a_line_has_envoys_field_names() {
    let buffer = Buffer::default();
    let sink = AccessLogSink::start(Box::new(buffer.clone())).unwrap();
    sink.log(entry());
    sink.close();
    let written = buffer.0.lock();
    let lines: Vec<&str> = std::str::from_utf8(&written).unwrap().lines().collect();
    assert_eq!(
        lines,
        [concat!(
            r#"{"start_time":"2023-11-14T22:13:20.123Z","method":"GET","path":"/a?b={c}","protocol":"HTTP/2","response_code":503,"#,
            r#""response_flags":"UH,URX","response_code_details":"no_healthy_upstream","bytes_received":1,"bytes_sent":19,"duration":12,"#,
            r#""upstream_host":null,"upstream_cluster":"service/a/b/80","upstream_request_attempt_count":2,"#,
            r#""route_name":"httproute/a/b/0/0","downstream_remote_address":"127.0.0.1:5","x_forwarded_for":"1.2.3.4","#,
            r#""user_agent":"x�","request_id":null,"authority":"a.example","requested_server_name":null}"#
        )]
    );
}

#[test]
fn a_stuck_writer_drops_lines_and_counts_them() {
    let buffer = Buffer::default();
    let stuck = buffer.0.lock();
    let sink = AccessLogSink::start(Box::new(buffer.clone())).unwrap();
    let count = QUEUE * 2;
    for _ in 0..count {
        sink.log(entry());
    }
    let dropped = sink.dropped.load(Ordering::Relaxed);
    assert!(dropped > 0, "{dropped}");
    drop(stuck);
    sink.close();
    let lines = buffer.0.lock().iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(lines as u64 + dropped, count as u64);
}
