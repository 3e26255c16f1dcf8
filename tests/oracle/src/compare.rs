// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One case asked of both proxies, and what differs.

use crate::case::{Ask, Case};
use crate::client::{Answer, Client};
use crate::origin::{Record, Seen};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Headers whose values are a proxy's own or the time's; that they are there is compared.
const VALUES: [&str; 2] = ["date", "x-envoy-upstream-service-time"];
/// The trace that cases continue; the id of any other is a proxy's own.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// How far the shares of an origin may be apart.
const SHARE: f64 = 0.12;

/// Time for a copy that is sent aside (a mirror) to arrive.
const ASIDE: Duration = Duration::from_millis(400);

/// One thing that differs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Difference {
    pub(crate) configuration: String,
    pub(crate) request: String,
    pub(crate) field: String,
    pub(crate) ours: String,
    pub(crate) envoy: String,
}

/// Both sides of a comparison, ours first.
pub(crate) struct Sides<'a> {
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) records: [&'a Record; 2],
}

/// What a case led to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) differences: Vec<Difference>,
    /// By mark, what was asked and whether both answered it alike.
    pub(crate) asked: BTreeMap<String, (String, bool)>,
}

/// Asks both everything that a case asks.
pub(crate) async fn run(case: &Case, sides: &Sides<'_>) -> Outcome {
    let mut clients = sides.addresses.map(Client::new);
    let mut outcome = Outcome::default();
    for (index, ask) in case.requests.iter().enumerate() {
        let mark = format!("{}#{index}", case.name);
        if ask.shares > 0 {
            outcome.requests += ask.shares;
            shares(case, ask, &mark, (sides, &mut clients), &mut outcome.differences).await;
            continue;
        }
        if !ask.datagrams.is_empty() {
            outcome.requests += ask.datagrams.len();
            outcome.differences.extend(datagrams(case, ask, &mark, sides).await);
            continue;
        }
        outcome.requests += 1;
        let [ours, envoy] = &mut clients;
        let answers: [_; 2] = tokio::join!(ours.ask(ask, &mark), envoy.ask(ask, &mark)).into();
        settle(sides, &mark).await;
        let seen = sides.records.map(|record| record.take(&mark));
        let mut fields = Fields::default();
        answer(&mut fields, &answers);
        upstream(&mut fields, &seen, case.names_hosts());
        let alike = fields.are_alike();
        outcome.asked.insert(mark.clone(), (describe(ask), alike));
        let differing = fields.causes();
        outcome.differences.extend(differing.into_iter().map(|(field, [ours, envoy])| Difference {
            configuration: case.name.clone(),
            request: format!("{} [{mark}]", describe(ask)),
            field,
            ours,
            envoy,
        }));
    }
    outcome
}

/// Waits until both origins saw as much: copies that are sent aside come when they come.
async fn settle(sides: &Sides<'_>, mark: &str) {
    let started = Instant::now();
    let [ours, envoy] = sides.records;
    while ours.count(mark) != envoy.count(mark) && started.elapsed() < ASIDE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, [String; 2]>);

impl Fields {
    fn put(&mut self, field: impl Into<String>, side: usize, value: impl ToString) {
        let entry = self.0.entry(field.into()).or_insert_with(|| [const { String::new() }; 2]);
        if !entry[side].is_empty() {
            entry[side].push_str(" | ");
        }
        entry[side].push_str(&value.to_string());
    }
}

impl Fields {
    /// Whether both answered with the same status after as many attempts.
    fn are_alike(&self) -> bool {
        let same = |field: &str| self.0.get(field).is_none_or(|[ours, envoy]| ours == envoy);
        ["response.status", "response.error", "upstream.attempts"].into_iter().all(same)
    }

    /// What differs, without what follows from it: of another status or number of attempts nothing else can be alike.
    fn causes(self) -> Vec<(String, [String; 2])> {
        let differs = |field: &str| self.0.get(field).is_some_and(|[ours, envoy]| ours != envoy);
        let (outcome, attempts) =
            (differs("response.status") || differs("response.error"), differs("upstream.attempts"));
        let kept = |field: &str| match field {
            "response.status" | "upstream.attempts" => true,
            // The status says it, too: nothing on one side.
            "response.error" => false,
            _ if outcome => false,
            _ => !(attempts && field.starts_with("upstream[")),
        };
        self.0.into_iter().filter(|(field, [ours, envoy])| ours != envoy && kept(field)).collect()
    }
}

fn answer(fields: &mut Fields, answers: &[Result<Answer, String>; 2]) {
    for (side, answer) in answers.iter().enumerate() {
        match answer {
            Err(error) => {
                fields.put("response.error", side, error);
                fields.put("response.status", side, error);
            }
            Ok(answer) => {
                fields.put("response.status", side, answer.status);
                fields.put("response.body", side, &answer.body);
                fields.put("response.closed", side, answer.closed);
                headers(fields, "response.header", side, &answer.headers);
            }
        }
    }
}

fn headers(fields: &mut Fields, prefix: &str, side: usize, headers: &[(String, String)]) {
    for (name, value) in headers {
        // What is left of the time is the same but for a millisecond or two.
        let left = name == "x-envoy-expected-rq-timeout-ms"
            && prefix.starts_with("upstream[")
            && !prefix.starts_with("upstream[0]");
        let masked = masked(name, value);
        let shown = if left || VALUES.contains(&name.as_str()) { "(some)" } else { &masked };
        fields.put(format!("{prefix}.{name}"), side, format!("{shown:?}"));
    }
}

/// A value without the part that is a proxy's own: of a request's id the digit that tells whether it is traced stays, of a trace's context
/// all but the span, and the trace where the client did not name it.
fn masked(name: &str, value: &str) -> String {
    match name {
        "x-request-id" => match value.get(14..15).filter(|_| value.len() == 36) {
            Some(reason) => format!("(some {reason})"),
            None => "(some)".to_owned(),
        },
        "traceparent" => {
            let parts: Vec<&str> = value.split('-').collect();
            match parts[..] {
                [version, TRACE, _, flags] => format!("{version}-{TRACE}-(some)-{flags}"),
                [version, _, _, flags] => format!("{version}-(some)-(some)-{flags}"),
                _ => value.to_owned(),
            }
        }
        _ => value.to_owned(),
    }
}

fn upstream(fields: &mut Fields, seen: &[Vec<Seen>; 2], hosts: bool) {
    for (side, seen) in seen.iter().enumerate() {
        fields.put("upstream.attempts", side, seen.len());
        // Which host of a cluster comes first is chance; whether the next one is another is not where a policy says so.
        let mut met: Vec<&str> = Vec::new();
        for (attempt, seen) in seen.iter().enumerate() {
            let host = met.iter().position(|origin| *origin == seen.origin).unwrap_or_else(|| {
                met.push(seen.origin);
                met.len() - 1
            });
            let at = format!("upstream[{attempt}]");
            if hosts {
                fields.put(format!("{at}.host"), side, host);
            }
            fields.put(format!("{at}.method"), side, &seen.method);
            fields.put(format!("{at}.path"), side, &seen.target);
            fields.put(format!("{at}.body"), side, &seen.body);
            headers(fields, &format!("{at}.header"), side, &seen.headers);
        }
    }
}

/// Sends datagrams and compares what comes back.
async fn datagrams(case: &Case, ask: &Ask, mark: &str, sides: &Sides<'_>) -> Option<Difference> {
    let [ours, envoy] = sides.addresses.map(|address| crate::datagrams::ask(address, &ask.datagrams));
    let (ours, envoy) = tokio::join!(ours, envoy);
    let [ours, envoy] = [ours, envoy].map(|told| told.unwrap_or_else(|error| error.to_string()));
    (ours != envoy).then(|| Difference {
        configuration: case.name.clone(),
        request: format!("datagrams [{mark}]"),
        field: "datagrams".to_owned(),
        ours,
        envoy,
    })
}

/// Asks often and compares how the requests spread.
async fn shares(
    case: &Case,
    ask: &Ask,
    mark: &str,
    (sides, clients): (&Sides<'_>, &mut [Client; 2]),
    differences: &mut Vec<Difference>,
) {
    let mut counts = [const { BTreeMap::<String, usize>::new() }; 2];
    for round in 0..ask.shares {
        let mark = format!("{mark}.{round}");
        for (side, client) in clients.iter_mut().enumerate() {
            let answered = client.ask(ask, &mark).await;
            let seen = sides.records[side].take(&mark);
            let origin = seen.first().map_or("none", |seen| seen.origin);
            let status = answered.map_or_else(|error| error, |answer| answer.status.to_string());
            *counts[side].entry(format!("{origin} {status}")).or_default() += 1;
        }
    }
    let names: BTreeSet<&String> = counts.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        let share =
            |side: usize| counts[side].get(name).copied().unwrap_or_default() as f64 / ask.shares as f64;
        if (share(0) - share(1)).abs() > SHARE {
            differences.push(Difference {
                configuration: case.name.clone(),
                request: format!("{} [{mark}]", describe(ask)),
                field: format!("share.{name}"),
                ours: format!("{:.2}", share(0)),
                envoy: format!("{:.2}", share(1)),
            });
        }
    }
}

fn describe(ask: &Ask) -> String {
    let headers: String = ask.headers.iter().map(|line| format!(" {{{line}}}")).collect();
    format!("{:?} {} {} {}{headers}", ask.version, ask.method, ask.host, ask.path)
}
