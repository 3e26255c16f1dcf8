// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Compares what both proxies wrote into their access logs.

use crate::case::LOG_FIELDS;
use crate::compare::Difference;
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::Path;

type Lines = BTreeMap<String, Vec<Vec<String>>>;

/// What was asked by mark, and whether both answered it alike.
pub(crate) type Asked = BTreeMap<String, (String, bool)>;

/// Differences of two logs, field by field; lines are found by the request's mark. Lines of requests without one are left out,
/// as are those of repeated requests, and those of requests that were answered differently: that is told already.
pub(crate) fn compare(ours: &Path, envoy: &Path, asked: &Asked) -> anyhow::Result<(usize, Vec<Difference>)> {
    let (ours, envoy) = (read(ours)?, read(envoy)?);
    let mut differences = Vec::new();
    let marks: std::collections::BTreeSet<&String> = ours.keys().chain(envoy.keys()).collect();
    for mark in &marks {
        let Some((ask, true)) = asked.get(*mark) else { continue };
        let empty = Vec::new();
        let (a, b) = (ours.get(*mark).unwrap_or(&empty), envoy.get(*mark).unwrap_or(&empty));
        let mut differs = |field: &str, ours: String, envoy: String| {
            let configuration = mark.split('#').next().unwrap_or_default().to_owned();
            differences.push(Difference {
                configuration,
                request: format!("{ask} [{mark}]"),
                field: format!("log.{field}"),
                ours,
                envoy,
            });
        };
        if a.len() != b.len() {
            differs("lines", a.len().to_string(), b.len().to_string());
            continue;
        }
        for (a, b) in a.iter().zip(b) {
            for (index, name) in LOG_FIELDS.iter().enumerate().skip(1) {
                if a.get(index) != b.get(index) {
                    let text = |line: &[String]| line.get(index).cloned().unwrap_or_default();
                    differs(name.trim_matches('%'), text(a), text(b));
                }
            }
        }
    }
    Ok((marks.len(), differences))
}

fn read(file: &Path) -> anyhow::Result<Lines> {
    let mut lines = Lines::new();
    if !file.exists() {
        // None of the cases has a log.
        return Ok(lines);
    }
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    for line in String::from_utf8_lossy(&text).lines() {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let Some(mark) = fields.first().filter(|mark| mark.contains('#') && !mark.contains('.')) else {
            continue;
        };
        lines.entry(mark.clone()).or_default().push(fields);
    }
    Ok(lines)
}
