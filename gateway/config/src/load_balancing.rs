// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How a cluster's endpoints share its load: policy, localities, slow start, subsets.

use crate::LbMetadata;
use http::HeaderName;
use std::time::Duration;

/// How an endpoint is picked (`lb_policy` and its settings, or `load_balancing_policy`).
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancing {
    /// The policy among the endpoints that come into question.
    pub policy: Balancing,
    /// Below this percentage of healthy hosts all count as healthy (default 50; 0: never).
    pub panic_threshold: u8,
    /// How localities share the load.
    pub localities: LocalityBalancing,
    /// New endpoints get less at first.
    pub slow_start: Option<SlowStart>,
    /// Endpoints by metadata.
    pub subsets: Option<Subsets>,
    /// New endpoints take nothing, and do not count for the panic threshold, until they were checked once.
    pub ignore_until_first_check: bool,
    /// Headers that name endpoints by address: the first one that can take requests does, before any policy (`override_host`).
    pub overrides: Box<[HeaderName]>,
    /// All connections drain when hosts come or go (`close_connections_on_host_set_change`).
    pub drain_on_change: bool,
}

impl Default for LoadBalancing {
    fn default() -> Self {
        Self {
            policy: Balancing::RoundRobin,
            panic_threshold: 50,
            localities: LocalityBalancing::Together,
            slow_start: None,
            subsets: None,
            ignore_until_first_check: false,
            overrides: Box::default(),
            drain_on_change: false,
        }
    }
}

/// The policy among endpoints of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Balancing {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less busy of some random ones; by weight and load where weights differ.
    LeastRequest {
        /// How many are compared (default 2).
        choices: u32,
        /// How much active requests count where weights differ (default 1).
        bias: f64,
        /// All are compared.
        full_scan: bool,
    },
    /// At random.
    Random,
    /// By the request's hash, on a ring.
    RingHash {
        /// Entries at least (default 1024).
        min_size: u64,
        /// Entries at most (default 8 Mi).
        max_size: u64,
        /// How entries are hashed.
        function: HashFunction,
        /// What both hashing policies have.
        hashing: Hashing,
    },
    /// By the request's hash, in a table.
    Maglev {
        /// Entries; a prime (default 65,537).
        table_size: u64,
        /// What both hashing policies have.
        hashing: Hashing,
    },
}

/// The function that places endpoints on a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFunction {
    /// xxHash, 64 bit.
    #[default]
    Xx,
    /// MurmurHash2, 64 bit.
    Murmur2,
}

/// Settings of consistent hashing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashing {
    /// Endpoints are hashed by host name rather than address.
    pub by_hostname: bool,
    /// No endpoint gets more than this percentage of the average load; none: no bound.
    pub balance_factor: Option<u32>,
}

/// How localities share the load of their priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalityBalancing {
    /// Localities do not matter.
    #[default]
    Together,
    /// By weight of the locality.
    Weighted,
    /// The gateway's own locality first, as far as the load stays even.
    ZoneAware(ZoneAware),
}

/// When requests stay in the gateway's own locality. Without a word about that in the bootstrap they never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneAware {
    /// Percent of the requests that look at localities (default 100).
    pub routing: u8,
    /// Healthy hosts that the cluster must have (default 6).
    pub min_size: u64,
    /// Nothing is sent to a priority with too few healthy hosts.
    pub fail_on_panic: bool,
    /// All requests stay where the own locality has so many healthy hosts; none: never only because of that.
    pub force_local: Option<u32>,
}

/// How endpoints that are new get their full share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// Shape of the curve: 1 is linear, more is faster at first.
    pub aggression: f64,
    /// The share at the beginning, percent.
    pub min_percent: f64,
}

/// Subsets of endpoints by metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subsets {
    /// Which endpoints take a request whose subset is empty or unknown.
    pub fallback: SubsetFallback,
    /// The default subset.
    pub default: LbMetadata,
    /// Keys that make subsets.
    pub selectors: Box<[SubsetSelector]>,
    /// Weights of localities hold inside subsets.
    pub locality_weights: bool,
    /// They are scaled by the share of the locality's endpoints that are in the subset.
    pub scale_locality_weights: bool,
    /// Where the fallback finds nothing, any endpoint does.
    pub panic_any: bool,
    /// An endpoint's list is each of its elements.
    pub list_as_any: bool,
}

/// Which endpoints take a request that has no subset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubsetFallback {
    /// None.
    #[default]
    None,
    /// Any.
    Any,
    /// Those of the default subset.
    Default,
    /// Those of the subset by fewer keys.
    Keys(Box<[Box<str>]>),
}

/// Keys that make subsets together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubsetSelector {
    /// In ascending order.
    pub keys: Box<[Box<str>]>,
    /// Overrides [`Subsets::fallback`] for requests by these keys.
    pub fallback: Option<SubsetFallback>,
    /// Only the first endpoint of a subset is used.
    pub single_host: bool,
}
