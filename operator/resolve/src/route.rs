// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a routing object contributes to gateways, in the shape that all front ends share.

use crate::status::StatusValue;
use operator_ir::{Action, BackendId, GatewayId, HostPattern, ObjectRef, Rule, SecretId, VirtualHostId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came of one HTTPRoute or Ingress.
#[derive(Debug, Default)]
pub(crate) struct RouteOutcome {
    /// The listeners that it is attached to.
    pub(crate) attached: BTreeSet<Place>,
    /// Its rules by virtual host.
    pub(crate) hosts: BTreeMap<(Arc<GatewayId>, Arc<VirtualHostId>), Contribution>,
    /// Certificates that it brings, by gateway.
    pub(crate) certificates: BTreeMap<Arc<GatewayId>, Vec<HostCertificate>>,
    /// The verdict on it with its generation; none where it is not ours.
    pub(crate) status: Option<(i64, StatusValue)>,
}

/// A listener of a Gateway or fleet.
pub(crate) type Place = (Arc<ObjectRef>, Arc<str>);

/// What is kept of a route once it is settled: where its contributions are, not what they are. There are many routes, so
/// lists are cut to size and names are shared.
#[derive(Debug, Default)]
pub(crate) struct SettledRoute {
    pub(crate) attached: Box<[Place]>,
    pub(crate) hosts: Box<[(Arc<GatewayId>, Arc<VirtualHostId>)]>,
    pub(crate) certified: Box<[Arc<GatewayId>]>,
}

/// A certificate for one SNI name, on a listener that others own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostCertificate {
    pub(crate) listener: Arc<str>,
    pub(crate) host: HostPattern,
    pub(crate) secret: SecretId,
    pub(crate) age: i64,
}

/// What one object adds to one virtual host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contribution {
    /// The hostname as the object has it: it decides before all else (Gateway API, `HTTPRouteSpec.hostnames`).
    pub(crate) own_host: HostPattern,
    pub(crate) rules: Arc<RouteRules>,
}

/// The rules of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteRules {
    /// Creation time in seconds; the latest possible where there is none.
    pub(crate) age: i64,
    pub(crate) object: ObjectRef,
    /// In the object's order.
    pub(crate) rules: Box<[RankedRule]>,
}

/// A rule and how specific its match is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RankedRule {
    pub(crate) rank: Rank,
    pub(crate) rule: Rule,
}

/// How specific a match is; the most specific sorts first (Gateway API, `HTTPRouteRule.matches`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) path: PathRank,
    pub(crate) method: Reverse<bool>,
    pub(crate) headers: Reverse<usize>,
    pub(crate) query: Reverse<usize>,
}

/// Kinds of path matches, the most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathRank {
    Exact,
    /// By length of the expression; the specification leaves the place of regular expressions open.
    Regex(Reverse<usize>),
    /// By characters.
    Prefix(Reverse<usize>),
    /// After everything else.
    Last,
}

/// The rules of a virtual host in the order in which they are tried.
pub(crate) fn ordered<'a>(contributions: impl Iterator<Item = &'a Contribution>) -> Vec<Rule> {
    let mut all: Vec<_> = contributions
        .flat_map(|contribution| contribution.rules.rules.iter().map(move |ranked| (contribution, ranked)))
        .collect();
    // Stable: rules of one object keep their order.
    all.sort_by(|(a, a_ranked), (b, b_ranked)| {
        let key = |contribution: &'a Contribution| {
            let RouteRules { age, object, .. } = contribution.rules.as_ref();
            (*age, object.namespace.as_str(), object.name.as_str(), object.kind)
        };
        (&a.own_host, &a_ranked.rank).cmp(&(&b.own_host, &b_ranked.rank)).then_with(|| key(a).cmp(&key(b)))
    });
    all.into_iter().map(|(_, ranked)| ranked.rule.clone()).collect()
}

/// The backends that a rule names.
pub(crate) fn backends(rule: &Rule) -> impl Iterator<Item = &BackendId> {
    let forward = match &rule.action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::Respond(_) => None,
    };
    forward.into_iter().flat_map(|forward| {
        let destinations = forward.destinations.iter().filter_map(|destination| destination.backend.as_ref());
        destinations.chain(forward.mirrors.iter().map(|mirror| &mirror.backend))
    })
}
