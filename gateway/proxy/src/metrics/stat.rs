// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One number under Envoy's names: dotted as in `/stats`, and with labels as in `/stats/prometheus`.

use gateway_upstream::{BUCKETS, HistogramValues};
use std::fmt::{Display, Write};

/// One number, or one histogram.
#[derive(Clone, Copy, Debug)]
pub struct Stat<'a> {
    /// Whose it is.
    pub scope: StatScope<'a>,
    /// Envoy's name below the scope, such as `upstream_rq_2xx` or `rbac.allowed`.
    pub name: &'a str,
    /// A further label that stands in the name.
    pub tag: Option<StatTag<'a>>,
    /// What it is now.
    pub value: StatValue<'a>,
}

/// Whose a number is. The text is a label in Prometheus' form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatScope<'a> {
    /// A cluster, by its name.
    Cluster(&'a str),
    /// A connection manager, by its `stat_prefix`.
    Http(&'a str),
    /// A listener, by its address with `_` before the port.
    Listener(&'a str),
    /// A TCP proxy, by its `stat_prefix`.
    Tcp(&'a str),
    /// A UDP proxy, by its `stat_prefix`.
    Udp(&'a str),
    /// Whatever has a `stat_prefix` of its own in front of the name.
    Prefix {
        /// The label's name.
        label: &'static str,
        /// The prefix.
        value: &'a str,
    },
    /// A part of the process, such as `server` or `cluster_manager`.
    Part(&'static str),
    /// None of Envoy's; with a connection manager's `stat_prefix` where it has one.
    Own(Option<&'a str>),
}

/// A label whose value stands in the dotted name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatTag<'a> {
    /// The name without the value.
    pub family: &'a str,
    /// The label's name.
    pub label: &'a str,
    /// Its value.
    pub value: &'a str,
}

/// A number with its kind.
#[derive(Clone, Copy, Debug)]
pub enum StatValue<'a> {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(u64),
    /// Durations in milliseconds.
    Histogram(&'a HistogramValues),
}

const HTTP_LABEL: &str = "envoy_http_conn_manager_prefix";

impl Stat<'_> {
    /// Whether there is something to tell: not zero.
    #[must_use]
    pub fn is_used(&self) -> bool {
        match self.value {
            StatValue::Counter(value) | StatValue::Gauge(value) => value != 0,
            StatValue::Histogram(values) => values.count() != 0,
        }
    }

    /// The dotted name, as in `/stats`.
    #[must_use]
    pub fn dotted(&self) -> String {
        let name = self.name;
        match self.scope {
            StatScope::Cluster(of) => format!("cluster.{of}.{name}"),
            StatScope::Http(of) => format!("http.{of}.{name}"),
            StatScope::Listener(of) => format!("listener.{of}.{name}"),
            StatScope::Tcp(of) => format!("tcp.{of}.{name}"),
            StatScope::Udp(of) => format!("udp.{of}.{name}"),
            StatScope::Prefix { value: "", .. } => name.to_owned(),
            StatScope::Prefix { value, .. } => format!("{value}.{name}"),
            StatScope::Part(part) => format!("{part}.{name}"),
            StatScope::Own(None) => format!("gatefleet.{name}"),
            StatScope::Own(Some(of)) => format!("gatefleet.{of}.{name}"),
        }
    }

    /// Writes the name of its family in Prometheus' form.
    fn write_family(&self, out: &mut String) {
        let part = match self.scope {
            StatScope::Cluster(_) => "envoy_cluster_",
            StatScope::Http(_) => "envoy_http_",
            StatScope::Listener(_) => "envoy_listener_",
            StatScope::Tcp(_) => "envoy_tcp_",
            StatScope::Udp(_) => "envoy_udp_",
            StatScope::Prefix { .. } => "envoy_",
            StatScope::Part(part) => {
                out.push_str("envoy_");
                out.push_str(part);
                "_"
            }
            StatScope::Own(_) => "gatefleet_",
        };
        out.push_str(part);
        let name = self.tag.map_or(self.name, |tag| tag.family);
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        out.extend(name.chars().map(plain));
    }

    /// Its labels; at most two.
    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = match self.scope {
            StatScope::Cluster(of) => Some(("envoy_cluster_name", of)),
            StatScope::Http(of) | StatScope::Own(Some(of)) => Some((HTTP_LABEL, of)),
            StatScope::Listener(of) => Some(("envoy_listener_address", of)),
            StatScope::Tcp(of) => Some(("envoy_tcp_prefix", of)),
            StatScope::Udp(of) => Some(("envoy_udp_prefix", of)),
            StatScope::Prefix { label, value } => Some((label, value)),
            StatScope::Part(_) | StatScope::Own(None) => None,
        };
        self.tag.map(|tag| (tag.label, tag.value)).into_iter().chain(own)
    }
}

/// Writes numbers in Prometheus' text form. Those of one family must come one after the other.
#[derive(Debug)]
pub struct PrometheusText<'o> {
    out: &'o mut String,
    family: String,
    next: String,
}

impl<'o> PrometheusText<'o> {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: &'o mut String) -> Self {
        Self { out, family: String::new(), next: String::new() }
    }

    /// Writes one number, and before the first of its family what the family is.
    pub fn write(&mut self, stat: &Stat<'_>) {
        self.next.clear();
        stat.write_family(&mut self.next);
        if self.next != self.family {
            std::mem::swap(&mut self.next, &mut self.family);
            let kind = match stat.value {
                StatValue::Counter(_) => "counter",
                StatValue::Gauge(_) => "gauge",
                StatValue::Histogram(_) => "histogram",
            };
            // Writing to a String does not fail.
            let _ = writeln!(self.out, "# TYPE {} {kind}", self.family);
        }
        match stat.value {
            StatValue::Counter(value) | StatValue::Gauge(value) => self.line("", stat, None, value),
            StatValue::Histogram(values) => self.histogram(stat, values),
        }
    }

    fn histogram(&mut self, stat: &Stat<'_>, values: &HistogramValues) {
        let mut count = 0;
        for (end, in_bucket) in BUCKETS.iter().zip(values.counts) {
            count += in_bucket;
            self.line("_bucket", stat, Some(&end.to_string()), count);
        }
        self.line("_bucket", stat, Some("+Inf"), values.count());
        self.line("_sum", stat, None, values.sum_millis());
        self.line("_count", stat, None, values.count());
    }

    fn line(&mut self, suffix: &str, stat: &Stat<'_>, end: Option<&str>, value: impl Display) {
        let out = &mut *self.out;
        out.push_str(&self.family);
        out.push_str(suffix);
        let mut before = '{';
        for (label, text) in stat.labels().chain(end.map(|end| ("le", end))) {
            out.push(before);
            before = ',';
            out.push_str(label);
            out.push_str("=\"");
            escape(out, text);
            out.push('"');
        }
        if before == ',' {
            out.push('}');
        }
        // Writing to a String does not fail.
        let _ = writeln!(out, " {value}");
    }
}

pub(super) fn escape(out: &mut String, text: &str) {
    if !text.contains(['"', '\\', '\n']) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PrometheusText, Stat, StatScope, StatTag, StatValue};

    #[test]
    fn a_number_has_its_dotted_and_its_labelled_name() {
        let class = StatTag { family: "upstream_rq_xx", label: "envoy_response_code_class", value: "2" };
        let plain = |scope, name, value| Stat { scope, name, tag: None, value: StatValue::Counter(value) };
        let stats = [
            plain(StatScope::Http("web"), "rbac.allowed", 1),
            plain(StatScope::Http("api \"x\""), "rbac.allowed", 2),
            Stat { tag: Some(class), ..plain(StatScope::Cluster("a|b"), "upstream_rq_2xx", 3) },
            plain(StatScope::Part("server"), "live", 4),
        ];
        let names: Vec<_> = stats.iter().map(Stat::dotted).collect();
        assert_eq!(
            names,
            [
                "http.web.rbac.allowed",
                "http.api \"x\".rbac.allowed",
                "cluster.a|b.upstream_rq_2xx",
                "server.live"
            ]
        );
        let mut text = String::new();
        let mut writer = PrometheusText::new(&mut text);
        stats.iter().for_each(|stat| writer.write(stat));
        assert_eq!(
            text,
            "# TYPE envoy_http_rbac_allowed counter\n\
             envoy_http_rbac_allowed{envoy_http_conn_manager_prefix=\"web\"} 1\n\
             envoy_http_rbac_allowed{envoy_http_conn_manager_prefix=\"api \\\"x\\\"\"} 2\n\
             # TYPE envoy_cluster_upstream_rq_xx counter\n\
             envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"a|b\"} 3\n\
             # TYPE envoy_server_live counter\n\
             envoy_server_live 4\n"
        );
    }
}
