// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes `load_balancing_policy`: the first policy of the list that is known here is used.

use super::{flag, hashing_of, least_request, maglev, ring_hash, slow_start, subsets, zone_aware};
use crate::decode::{Fault, Scope, fields, number, type_name};
use crate::{Balancing, HashFunction, Hashing, LoadBalancing, LocalityBalancing, SlowStart};
use gateway_xds_api::pb::envoy::config::cluster::v3::LoadBalancingPolicy;
use gateway_xds_api::pb::envoy::extensions::load_balancing_policies as lb;
use gateway_xds_api::pb::envoy::extensions::load_balancing_policies::common::v3::{
    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
    locality_lb_config::{LocalityConfigSpecifier, ZoneAwareLbConfig},
};
use gateway_xds_api::pb::envoy::extensions::load_balancing_policies::{
    client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin, override_host::v3::OverrideHost,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;

/// The policy of the list that applies.
pub(super) fn extensible(
    scope: &mut Scope,
    list: LoadBalancingPolicy,
    balancing: &mut LoadBalancing,
) -> Result<(), Fault> {
    // Only what the policy itself says about localities counts here.
    balancing.localities = LocalityBalancing::Together;
    let mut seen = Vec::new();
    for (at, policy) in list.policies.into_iter().enumerate() {
        let Some(config) = policy.typed_extension_config else { continue };
        let Some(any) = config.typed_config else { continue };
        let known = scope.at(format_args!("policies[{at}]"), |scope| one(scope, &any, balancing))?;
        if known {
            return Ok(());
        }
        seen.push(type_name(&any).to_owned());
    }
    Err(scope
        .field_fault("policies", format_args!("holds no policy that is known here ({})", seen.join(", "))))
}

/// Decodes a policy; false where it is not known.
fn one(scope: &mut Scope, any: &Any, balancing: &mut LoadBalancing) -> Result<bool, Fault> {
    macro_rules! message {
        () => {
            unpack(any).map_err(|error| scope.fault(error))?
        };
    }
    let name = type_name(any);
    let Some(kind) = name.strip_prefix("envoy.extensions.load_balancing_policies.") else { return Ok(false) };
    match kind {
        "round_robin.v3.RoundRobin" => {
            let lb::round_robin::v3::RoundRobin { slow_start_config, locality_lb_config } = message!();
            balancing.policy = Balancing::RoundRobin;
            balancing.slow_start = slow_start_of(scope, slow_start_config)?;
            balancing.localities = localities(scope, locality_lb_config)?;
        }
        "random.v3.Random" => {
            let lb::random::v3::Random { locality_lb_config } = message!();
            balancing.policy = Balancing::Random;
            balancing.localities = localities(scope, locality_lb_config)?;
        }
        "least_request.v3.LeastRequest" => least(scope, message!(), balancing)?,
        "ring_hash.v3.RingHash" => ring(scope, message!(), balancing)?,
        "maglev.v3.Maglev" => {
            let lb::maglev::v3::Maglev {
                table_size,
                consistent_hashing_lb_config,
                locality_weighted_lb_config,
            } = message!();
            let hashing = hashing(scope, consistent_hashing_lb_config.unwrap_or_default())?;
            balancing.policy = maglev(scope, table_size, hashing)?;
            balancing.localities = weighted(locality_weighted_lb_config.is_some());
        }
        "wrr_locality.v3.WrrLocality" => {
            let lb::wrr_locality::v3::WrrLocality { endpoint_picking_policy } = message!();
            let inner = scope.required("endpoint_picking_policy", endpoint_picking_policy)?;
            scope.at("endpoint_picking_policy", |scope| extensible(scope, inner, balancing))?;
            balancing.localities = LocalityBalancing::Weighted;
        }
        "override_host.v3.OverrideHost" => override_host(scope, message!(), balancing)?,
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
            by_reports(scope, message!(), balancing)?
        }
        "subset.v3.Subset" => {
            let (subsets, inner) = subsets::extensible(scope, message!())?;
            scope.at("subset_lb_policy", |scope| extensible(scope, inner, balancing))?;
            balancing.subsets = Some(subsets);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn least(
    scope: &mut Scope,
    message: lb::least_request::v3::LeastRequest,
    balancing: &mut LoadBalancing,
) -> Result<(), Fault> {
    fields!(scope, message => lb::least_request::v3::LeastRequest {
        use { choice_count, active_request_bias, slow_start_config, locality_lb_config, enable_full_scan, selection_method }
        warn { }
        quiet { }
    });
    let full_scan = flag(enable_full_scan)
        || selection_method == lb::least_request::v3::least_request::SelectionMethod::FullScan as i32;
    balancing.policy = least_request(scope, choice_count, active_request_bias, full_scan)?;
    balancing.slow_start = slow_start_of(scope, slow_start_config)?;
    balancing.localities = localities(scope, locality_lb_config)?;
    Ok(())
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn ring(
    scope: &mut Scope,
    message: lb::ring_hash::v3::RingHash,
    balancing: &mut LoadBalancing,
) -> Result<(), Fault> {
    use lb::ring_hash::v3::ring_hash::HashFunction as Function;
    fields!(scope, message => lb::ring_hash::v3::RingHash {
        use {
            hash_function, minimum_ring_size, maximum_ring_size, use_hostname_for_hashing, hash_balance_factor, consistent_hashing_lb_config,
            locality_weighted_lb_config,
        }
        warn { }
        quiet { }
    });
    let function = match Function::try_from(hash_function) {
        Ok(Function::DefaultHash | Function::XxHash) => HashFunction::Xx,
        Ok(Function::MurmurHash2) => HashFunction::Murmur2,
        Err(_) => return Err(scope.field_fault("hash_function", "is unknown")),
    };
    let hashing = match consistent_hashing_lb_config {
        Some(config) => hashing(scope, config)?,
        None => hashing_of(scope, use_hostname_for_hashing, number(hash_balance_factor))?,
    };
    balancing.policy = ring_hash(scope, (minimum_ring_size, maximum_ring_size), function, hashing)?;
    balancing.localities = weighted(locality_weighted_lb_config.is_some());
    Ok(())
}

fn hashing(scope: &mut Scope, config: ConsistentHashingLbConfig) -> Result<Hashing, Fault> {
    let ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor, hash_policy } = config;
    scope.unused("consistent_hashing_lb_config.hash_policy", &hash_policy);
    hashing_of(scope, use_hostname_for_hashing, number(hash_balance_factor))
}

fn weighted(weighted: bool) -> LocalityBalancing {
    if weighted { LocalityBalancing::Weighted } else { LocalityBalancing::Together }
}

fn slow_start_of(scope: &mut Scope, config: Option<SlowStartConfig>) -> Result<Option<SlowStart>, Fault> {
    let Some(SlowStartConfig { slow_start_window, aggression, min_weight_percent }) = config else {
        return Ok(None);
    };
    slow_start(scope, slow_start_window, aggression, min_weight_percent)
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn localities(scope: &mut Scope, config: Option<LocalityLbConfig>) -> Result<LocalityBalancing, Fault> {
    match config.and_then(|config| config.locality_config_specifier) {
        None => Ok(LocalityBalancing::Together),
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => Ok(LocalityBalancing::Weighted),
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => {
            fields!(scope, config => ZoneAwareLbConfig {
                use { routing_enabled, min_cluster_size, fail_traffic_on_panic, force_locality_direct_routing, force_local_zone }
                warn { locality_basis }
                quiet { }
            });
            let mut zones = zone_aware(scope, routing_enabled, min_cluster_size, fail_traffic_on_panic)?;
            zones.force_local = match force_local_zone {
                Some(force) => Some(number(force.min_size).unwrap_or(1).max(1)),
                None => force_locality_direct_routing.then_some(1),
            };
            Ok(LocalityBalancing::ZoneAware(zones))
        }
    }
}

/// Endpoints named by headers come first, then another policy.
fn override_host(
    scope: &mut Scope,
    message: OverrideHost,
    balancing: &mut LoadBalancing,
) -> Result<(), Fault> {
    let OverrideHost { override_host_sources, selected_host_key, fallback_policy } = message;
    scope.unused("selected_host_key", &selected_host_key);
    let headers = scope.each("override_host_sources", override_host_sources, |scope, source| {
        if source.metadata.is_some() || source.header.is_empty() {
            return Err(scope.field_fault("metadata", "is not supported; use header"));
        }
        source.header.parse().map_err(|_| scope.field_fault("header", "is not a header name"))
    })?;
    if headers.is_empty() {
        return Err(scope.field_fault("override_host_sources", "is empty"));
    }
    let fallback = scope.required("fallback_policy", fallback_policy)?;
    scope.at("fallback_policy", |scope| extensible(scope, fallback, balancing))?;
    balancing.overrides = headers.into();
    Ok(())
}

/// Weights by load reports are not made here: all endpoints count the same, as they do in Envoy until reports come.
fn by_reports(
    scope: &mut Scope,
    message: ClientSideWeightedRoundRobin,
    balancing: &mut LoadBalancing,
) -> Result<(), Fault> {
    scope.warn("client_side_weighted_round_robin", "load reports have no effect: endpoints take turns");
    balancing.policy = Balancing::RoundRobin;
    balancing.slow_start = slow_start_of(scope, message.slow_start_config)?;
    Ok(())
}
