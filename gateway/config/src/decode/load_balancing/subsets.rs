// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes subsets, in both forms that the API has.

use crate::decode::{Fault, Scope, fields};
use crate::{LbMetadata, SubsetFallback, SubsetSelector, Subsets};
use gateway_xds_api::pb::envoy::config::cluster::v3::{LoadBalancingPolicy, cluster};
use gateway_xds_api::pb::envoy::extensions::load_balancing_policies::subset::v3 as ext;

/// `lb_subset_config`.
pub(super) fn legacy(scope: &mut Scope, config: cluster::LbSubsetConfig) -> Result<Subsets, Fault> {
    fields!(scope, config => cluster::LbSubsetConfig {
        use { fallback_policy, default_subset, subset_selectors, locality_weight_aware, scale_locality_weight, panic_mode_any, list_as_any }
        warn { metadata_fallback_policy }
        quiet { }
    });
    let selectors = scope.each("subset_selectors", subset_selectors, |scope, message| {
        let cluster::lb_subset_config::LbSubsetSelector {
            keys,
            single_host_per_subset,
            fallback_policy,
            fallback_keys_subset,
        } = message;
        selector(scope, keys, single_host_per_subset, (fallback_policy, fallback_keys_subset))
    })?;
    Ok(Subsets {
        fallback: fallback(scope, fallback_policy)?,
        default: LbMetadata::new(default_subset.unwrap_or_default()),
        selectors: selectors.into(),
        locality_weights: locality_weight_aware,
        scale_locality_weights: scale_locality_weight,
        panic_any: panic_mode_any,
        list_as_any,
    })
}

/// The extension; with the policy inside subsets.
pub(super) fn extensible(
    scope: &mut Scope,
    config: ext::Subset,
) -> Result<(Subsets, LoadBalancingPolicy), Fault> {
    fields!(scope, config => ext::Subset {
        use {
            fallback_policy, default_subset, subset_selectors, locality_weight_aware, scale_locality_weight, panic_mode_any, list_as_any,
            subset_lb_policy,
        }
        warn { metadata_fallback_policy, allow_redundant_keys }
        quiet { }
    });
    let inner = scope.required("subset_lb_policy", subset_lb_policy)?;
    let selectors = scope.each("subset_selectors", subset_selectors, |scope, message| {
        let ext::subset::LbSubsetSelector {
            keys,
            single_host_per_subset,
            fallback_policy,
            fallback_keys_subset,
        } = message;
        selector(scope, keys, single_host_per_subset, (fallback_policy, fallback_keys_subset))
    })?;
    let subsets = Subsets {
        fallback: fallback(scope, fallback_policy)?,
        default: LbMetadata::new(default_subset.unwrap_or_default()),
        selectors: selectors.into(),
        locality_weights: locality_weight_aware,
        scale_locality_weights: scale_locality_weight,
        panic_any: panic_mode_any,
        list_as_any,
    };
    Ok((subsets, inner))
}

fn fallback(scope: &Scope, policy: i32) -> Result<SubsetFallback, Fault> {
    match policy {
        0 => Ok(SubsetFallback::None),
        1 => Ok(SubsetFallback::Any),
        2 => Ok(SubsetFallback::Default),
        _ => Err(scope.field_fault("fallback_policy", "is unknown")),
    }
}

fn selector(
    scope: &Scope,
    keys: Vec<String>,
    single_host: bool,
    (policy, fewer): (i32, Vec<String>),
) -> Result<SubsetSelector, Fault> {
    let sorted = |keys: Vec<String>| -> Box<[Box<str>]> {
        let mut keys: Vec<Box<str>> = keys.into_iter().map(Into::into).collect();
        keys.sort();
        keys.dedup();
        keys.into()
    };
    let (keys, fewer) = (sorted(keys), sorted(fewer));
    if keys.is_empty() {
        return Err(scope.field_fault("keys", "is empty"));
    }
    if single_host && keys.len() > 1 {
        return Err(scope.field_fault("single_host_per_subset", "needs a selector of one key"));
    }
    let fallback = match policy {
        0 => None,
        1 => Some(SubsetFallback::None),
        2 => Some(SubsetFallback::Any),
        3 => Some(SubsetFallback::Default),
        4 if !fewer.is_empty() && fewer.len() < keys.len() && fewer.iter().all(|key| keys.contains(key)) => {
            Some(SubsetFallback::Keys(fewer))
        }
        4 => return Err(scope.field_fault("fallback_keys_subset", "must be some of the keys, not all")),
        _ => return Err(scope.field_fault("fallback_policy", "is unknown")),
    };
    Ok(SubsetSelector { keys, fallback, single_host })
}
