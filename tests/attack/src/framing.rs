// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The request heads of the crate `http_desync_guardian`: what its authors call severe is refused and the connection closed; what they call
//! ambiguous is refused, or means one thing to the server and ends both connections; what follows the RFCs is served.

use crate::gateway::Gateway;
use crate::origin::Origin;
use crate::report::{Report, say};
use crate::resources::{Speaks, cluster, listener, table};
use crate::wire::{Reply, exchange};
use anyhow::Context;
use gateway_proxy::ProxyOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How long a connection may stay quiet before it counts as left open.
const QUIET: Duration = Duration::from_millis(400);
/// What the server must never see as a request of its own.
const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: canary.example\r\n\r\n";

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    uri: String,
    method: String,
    version: String,
    #[serde(default)]
    headers: Option<Vec<Header>>,
    expected: Expected,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: Text,
    value: Text,
}

/// Text that YAML may read as something else.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Word(String),
    Number(i64),
    Nothing(()),
}

#[derive(Debug, Deserialize)]
struct Expected {
    tier: String,
}

/// The cases of all files; the file with one case repeats another.
fn cases(corpus: &Path) -> anyhow::Result<Vec<Case>> {
    let mut paths: Vec<_> = std::fs::read_dir(corpus)
        .with_context(|| format!("cannot read {}", corpus.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .filter(|path| !path.ends_with("single-case.yaml"))
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)?;
        let cases: Vec<Case> =
            serde_saphyr::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        all.extend(cases);
    }
    Ok(all)
}

impl Case {
    /// The head, with a host where it brings none, and nothing behind it.
    fn head(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\r\n", self.method, self.uri, self.version).into_bytes();
        let headers = self.headers.as_deref().unwrap_or_default();
        let text = Text::get;
        if !headers.iter().any(|header| text(&header.name).trim().eq_ignore_ascii_case("host")) {
            bytes.extend_from_slice(b"Host: corpus.example\r\n");
        }
        for header in headers {
            bytes
                .extend_from_slice(format!("{}: {}\r\n", text(&header.name), text(&header.value)).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// The body that most servers would expect behind the head.
    fn body(&self) -> Vec<u8> {
        let headers = self.headers.as_deref().unwrap_or_default();
        let value = |wanted: &str| {
            let mut named =
                headers.iter().filter(|header| header.name.get().trim().eq_ignore_ascii_case(wanted));
            named.next().map(|header| header.value.get().trim().to_owned())
        };
        match (value("transfer-encoding"), value("content-length").and_then(|length| length.parse().ok())) {
            (Some(_), _) => b"0\r\n\r\n".to_vec(),
            (None, Some(length @ 0..=100_000)) => vec![b'a'; length],
            _ => Vec::new(),
        }
    }
}

impl Text {
    fn get(&self) -> String {
        match self {
            Self::Word(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Nothing(()) => String::new(),
        }
    }
}

/// Heads that the standard allows and this gateway refuses: transfer codings other than one plain `chunked`, which no client needs and
/// servers read differently; names with underscores and bytes above ASCII, which servers fold; targets that are no path of one host.
const STRICTER: [&str; 11] = [
    "Correct TE OK",
    "Transfer-Encoding: identity and chunked OK",
    "Multiple transfer encoding headers in a single request OK",
    "TE with custom parameters OK",
    "Valid custom header with tchar in name and obs-text",
    "Valid custom header with underscore in name",
    "Different Transfer-Encoding headers",
    "Different Transfer-Encoding headers combined",
    "Transfer-Encoding with a param: chunked;custom_param",
    "Compliant URL",
    "Empty URI",
];

/// What became of a head.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Answered 4xx or 5xx, or not at all, and closed; nothing reached the server.
    Refused,
    /// Answered and closed after the server got exactly this request.
    EndsBoth,
    /// Waits for a body that the head announced.
    Waits,
    /// Answered, and the connection stays.
    Served,
}

/// Runs the corpus.
pub(crate) async fn run(report: &mut Report, corpus: &Path) -> anyhow::Result<()> {
    let origin = Origin::start("corpus").await?;
    let resources = vec![
        cluster("origin", &[origin.address], false),
        table("table", &[("/", "origin")]),
        listener("plain", Speaks::Plain, "table"),
    ];
    let gateway = Gateway::start(ProxyOptions::default(), resources).await?;
    let to = gateway.address("plain")?;
    let mut tiers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut passed_on, mut refused) = (Vec::new(), Vec::new());
    for case in cases(corpus)? {
        let mut bytes = case.head();
        bytes.extend(case.body());
        bytes.extend_from_slice(CANARY.as_bytes());
        let reply = exchange(to, &bytes, QUIET).await?;
        let seen = origin.take();
        let fate = fate(&reply, seen.len());
        let smuggled = seen.iter().any(|seen| seen.line.contains("canary")) && fate != Fate::Served;
        let good = match case.expected.tier.as_str() {
            "Severe" => fate == Fate::Refused,
            "Ambiguous" => matches!(fate, Fate::Refused | Fate::EndsBoth) && !smuggled,
            "Compliant" => fate != Fate::Refused,
            // Deviations without danger: either way, but nothing in between.
            _ => !smuggled,
        };
        let (all, right) = tiers.entry(case.expected.tier.clone()).or_default();
        *all += 1;
        *right += u64::from(good);
        let name = format!("{}: {}", case.expected.tier, case.name);
        if case.expected.tier == "Ambiguous" && fate != Fate::Refused {
            passed_on.push(case.name.clone());
        }
        if case.expected.tier == "Compliant" && !good && STRICTER.contains(&&*case.name) {
            say(&format!("  refused although compliant: {}", case.name));
            refused.push(case.name.clone());
        } else {
            report.check(&name, good, || {
                format!(
                    "{fate:?}, {} at the server; {:?} -> {}",
                    seen.len(),
                    String::from_utf8_lossy(&bytes),
                    reply.text()
                )
            });
        }
    }
    for (tier, (all, right)) in &tiers {
        report.figure(tier, json!({"all": all, "right": right}));
    }
    let counted = gateway.metric("gatefleet_http_requests_refused_total", "");
    let severe = tiers.get("Severe").map_or(0, |(all, _)| *all);
    report.check("refusals are counted by reason", counted >= severe && severe > 0, || {
        format!("{counted} counted, {severe} severe ones refused")
    });
    report.figure("compliant_that_are_refused", Value::from(refused));
    report.figure("ambiguous_that_end_both_connections", Value::from(passed_on));
    Ok(())
}

fn fate(reply: &Reply, at_server: usize) -> Fate {
    let refused = reply.status().is_none_or(|status| status >= 400);
    match (reply.closed, refused) {
        (true, true) if at_server == 0 => Fate::Refused,
        (true, _) => Fate::EndsBoth,
        (false, _) if reply.bytes.is_empty() => Fate::Waits,
        (false, _) => Fate::Served,
    }
}
