// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes how a cluster's endpoints share its load: `lb_policy` with its settings, and what all policies have.

mod policies;
mod subsets;

use crate::decode::{Fault, Scope, fields, number, truth};
use crate::{Balancing, HashFunction, Hashing, LoadBalancing, LocalityBalancing, SlowStart, ZoneAware};
use gateway_xds_api::pb::envoy::config::cluster::v3::{self as pb, cluster};
use gateway_xds_api::pb::envoy::config::core::v3::RuntimeDouble;
use gateway_xds_api::pb::envoy::r#type::v3::Percent;
use gateway_xds_api::pb::google::protobuf::{Duration as PbDuration, UInt64Value};

/// The largest ring.
const MAX_RING: u64 = 8 << 20;

/// What a cluster says about balancing.
pub(crate) struct Parts {
    pub(crate) policy: i32,
    pub(crate) config: Option<cluster::LbConfig>,
    pub(crate) common: Option<cluster::CommonLbConfig>,
    pub(crate) subsets: Option<cluster::LbSubsetConfig>,
    pub(crate) extensible: Option<pb::LoadBalancingPolicy>,
    /// The kind of the cluster brings its own.
    pub(crate) provided: bool,
}

/// How endpoints are picked.
pub(crate) fn load_balancing(scope: &mut Scope, parts: Parts) -> Result<LoadBalancing, Fault> {
    let Parts { policy, config, common, subsets, extensible, provided } = parts;
    let (mut balancing, hashing) = common_lb(scope, common.unwrap_or_default())?;
    let by_policy = cluster::LbPolicy::try_from(policy).ok();
    if extensible.is_some() || by_policy == Some(cluster::LbPolicy::LoadBalancingPolicyConfig) {
        let extensible = scope.required("load_balancing_policy", extensible)?;
        scope.unused("lb_subset_config", &subsets);
        scope.unused("lb_config", &config);
        scope.at("load_balancing_policy", |scope| policies::extensible(scope, extensible, &mut balancing))?;
        return Ok(balancing);
    }
    (balancing.policy, balancing.slow_start) = legacy(scope, by_policy, config, (hashing, provided))?;
    if let Some(subsets) = subsets.filter(|subsets| !subsets.subset_selectors.is_empty()) {
        balancing.subsets = Some(scope.at("lb_subset_config", |scope| subsets::legacy(scope, subsets))?);
    }
    Ok(balancing)
}

fn legacy(
    scope: &mut Scope,
    policy: Option<cluster::LbPolicy>,
    config: Option<cluster::LbConfig>,
    (hashing, provided): (Hashing, bool),
) -> Result<(Balancing, Option<SlowStart>), Fault> {
    use cluster::{LbConfig, LbPolicy};
    Ok(match (policy, config) {
        (Some(LbPolicy::RoundRobin), Some(LbConfig::RoundRobinLbConfig(config))) => {
            (Balancing::RoundRobin, legacy_slow_start(scope, config.slow_start_config)?)
        }
        (Some(LbPolicy::RoundRobin), _) => (Balancing::RoundRobin, None),
        (Some(LbPolicy::LeastRequest), Some(LbConfig::LeastRequestLbConfig(config))) => {
            let policy = least_request(scope, config.choice_count, config.active_request_bias, false)?;
            (policy, legacy_slow_start(scope, config.slow_start_config)?)
        }
        (Some(LbPolicy::LeastRequest), _) => (least_request(scope, None, None, false)?, None),
        // The other clusters' own policies count.
        (Some(LbPolicy::ClusterProvided), _) if provided => (Balancing::RoundRobin, None),
        (Some(LbPolicy::Random), _) => (Balancing::Random, None),
        (Some(LbPolicy::RingHash), config) => {
            let config = match config {
                Some(LbConfig::RingHashLbConfig(config)) => config,
                _ => cluster::RingHashLbConfig::default(),
            };
            let function = match cluster::ring_hash_lb_config::HashFunction::try_from(config.hash_function) {
                Ok(cluster::ring_hash_lb_config::HashFunction::XxHash) => HashFunction::Xx,
                Ok(cluster::ring_hash_lb_config::HashFunction::MurmurHash2) => HashFunction::Murmur2,
                Err(_) => return Err(scope.field_fault("ring_hash_lb_config.hash_function", "is unknown")),
            };
            let sizes = (config.minimum_ring_size, config.maximum_ring_size);
            (ring_hash(scope, sizes, function, hashing)?, None)
        }
        (Some(LbPolicy::Maglev), config) => {
            let size = match config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size,
                _ => None,
            };
            (maglev(scope, size, hashing)?, None)
        }
        _ => {
            return Err(scope.field_fault(
                "lb_policy",
                "must be ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH or MAGLEV",
            ));
        }
    })
}

fn least_request(
    scope: &Scope,
    choices: Option<gateway_xds_api::pb::google::protobuf::UInt32Value>,
    bias: Option<RuntimeDouble>,
    full_scan: bool,
) -> Result<Balancing, Fault> {
    let bias = bias.map_or(1.0, |bias| bias.default_value);
    if !bias.is_finite() || bias < 0.0 {
        return Err(scope.field_fault("active_request_bias", "must be zero or more"));
    }
    Ok(Balancing::LeastRequest { choices: number(choices).unwrap_or(2).clamp(2, 32), bias, full_scan })
}

fn ring_hash(
    scope: &Scope,
    (min, max): (Option<UInt64Value>, Option<UInt64Value>),
    function: HashFunction,
    hashing: Hashing,
) -> Result<Balancing, Fault> {
    let min_size = min.map_or(1024, |size| size.value);
    let max_size = max.map_or(MAX_RING, |size| size.value);
    if max_size > MAX_RING || min_size > max_size {
        return Err(scope.field_fault(
            "minimum_ring_size",
            "must not be above maximum_ring_size, nor that above 8388608",
        ));
    }
    Ok(Balancing::RingHash { min_size: min_size.max(1), max_size: max_size.max(1), function, hashing })
}

fn maglev(scope: &Scope, size: Option<UInt64Value>, hashing: Hashing) -> Result<Balancing, Fault> {
    let table_size = size.map_or(65_537, |size| size.value);
    if !(2..=5_000_011).contains(&table_size) || !is_prime(table_size) {
        return Err(scope.field_fault("table_size", "must be a prime number up to 5000011"));
    }
    Ok(Balancing::Maglev { table_size, hashing })
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn legacy_slow_start(
    scope: &mut Scope,
    config: Option<cluster::SlowStartConfig>,
) -> Result<Option<SlowStart>, Fault> {
    let Some(cluster::SlowStartConfig { slow_start_window, aggression, min_weight_percent }) = config else {
        return Ok(None);
    };
    slow_start(scope, slow_start_window, aggression, min_weight_percent)
}

fn slow_start(
    scope: &mut Scope,
    window: Option<PbDuration>,
    aggression: Option<RuntimeDouble>,
    min: Option<Percent>,
) -> Result<Option<SlowStart>, Fault> {
    scope.at("slow_start_config", |scope| {
        let Some(window) = scope.limit("slow_start_window", window, None)? else { return Ok(None) };
        let aggression = aggression.map_or(1.0, |value| value.default_value);
        if !aggression.is_finite() || aggression <= 0.0 {
            return Err(scope.field_fault("aggression", "must be above zero"));
        }
        let min_percent = f64::from(percent(scope, "min_weight_percent", min, 10.0)?);
        Ok(Some(SlowStart { window, aggression, min_percent }))
    })
}

fn percent(scope: &Scope, field: &str, value: Option<Percent>, default: f64) -> Result<u8, Fault> {
    let percent = value.map_or(default, |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) {
        return Err(scope.field_fault(field, "must be from 0 to 100"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be from 0 to 100")]
    Ok(percent.round() as u8)
}

/// Zone awareness, from its fields.
fn zone_aware(
    scope: &Scope,
    routing: Option<Percent>,
    min_size: Option<UInt64Value>,
    fail_on_panic: bool,
) -> Result<ZoneAware, Fault> {
    Ok(ZoneAware {
        routing: percent(scope, "zone_aware_lb_config.routing_enabled", routing, 100.0)?,
        min_size: min_size.map_or(6, |size| size.value),
        fail_on_panic,
        force_local: None,
    })
}

/// What holds for all policies, and what the hashing ones have.
fn common_lb(scope: &mut Scope, config: cluster::CommonLbConfig) -> Result<(LoadBalancing, Hashing), Fault> {
    scope.at("common_lb_config", |scope| {
        fields!(scope, config => cluster::CommonLbConfig {
            use {
                healthy_panic_threshold, ignore_new_hosts_until_first_hc, consistent_hashing_lb_config, locality_config_specifier,
                close_connections_on_host_set_change,
            }
            warn { override_host_status }
            quiet { update_merge_window }
        });
        let localities = match locality_config_specifier {
            None => LocalityBalancing::Together,
            Some(cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
                LocalityBalancing::Weighted
            }
            Some(cluster::common_lb_config::LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => {
                let cluster::common_lb_config::ZoneAwareLbConfig {
                    routing_enabled,
                    min_cluster_size,
                    fail_traffic_on_panic,
                } = config;
                let zones = zone_aware(scope, routing_enabled, min_cluster_size, fail_traffic_on_panic)?;
                LocalityBalancing::ZoneAware(zones)
            }
        };
        let hashing = consistent_hashing_lb_config.unwrap_or_default();
        let hashing = hashing_of(scope, hashing.use_hostname_for_hashing, number(hashing.hash_balance_factor))?;
        let balancing = LoadBalancing {
            panic_threshold: percent(scope, "healthy_panic_threshold", healthy_panic_threshold, 50.0)?,
            localities,
            ignore_until_first_check: ignore_new_hosts_until_first_hc,
            drain_on_change: close_connections_on_host_set_change,
            ..LoadBalancing::default()
        };
        Ok((balancing, hashing))
    })
}

fn hashing_of(scope: &Scope, by_hostname: bool, balance_factor: Option<u32>) -> Result<Hashing, Fault> {
    if balance_factor.is_some_and(|factor| factor < 100) {
        return Err(scope.field_fault("hash_balance_factor", "must be 100 or more"));
    }
    Ok(Hashing { by_hostname, balance_factor })
}

/// Fields that other decoders here share.
fn flag(value: Option<gateway_xds_api::pb::google::protobuf::BoolValue>) -> bool {
    truth(value, false)
}

#[cfg(test)]
mod tests {
    use super::is_prime;

    #[test]
    fn primes_are_known() {
        let primes: Vec<u64> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(5_000_011) && !is_prime(65_536));
    }
}
