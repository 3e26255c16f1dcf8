// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What `/proc` says about this process: memory, descriptors, processor time.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::fs;

/// Clock ticks a second in `/proc/self/stat`; fixed for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the process's own figures at each scrape; a figure that cannot be read is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory in bytes", resident_bytes()),
            ("process_open_fds", "Open file descriptors", open_descriptors()),
            ("process_max_fds", "Limit of open file descriptors", descriptor_limit()),
            ("process_threads", "Threads", threads()),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        if let Some(seconds) = processor_seconds() {
            let counter = ConstCounter::new(seconds);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time used",
                None,
                kind,
            )?)?;
        }
        Ok(())
    }
}

/// Resident memory of this process in bytes; none where `/proc` does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    status_value("VmRSS:").map(|kib| kib * 1024)
}

fn threads() -> Option<u64> {
    status_value("Threads:")
}

fn status_value(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn open_descriptors() -> Option<u64> {
    // The directory handle that counts is itself one of them.
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count.saturating_sub(1)).ok()
}

fn descriptor_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces, so fields are counted from the closing parenthesis: utime and stime are 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::ProcessMetrics;
    use crate::encode_metrics;
    use prometheus_client::registry::Registry;

    fn value(name: &str) -> f64 {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics));
        let text = encode_metrics(&registry);
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn figures_follow_the_process() {
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let before = value("process_open_fds");
        let held: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(value("process_open_fds") >= before + 30.0);
        drop(held);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
