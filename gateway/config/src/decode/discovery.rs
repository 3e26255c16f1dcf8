// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes where a cluster's endpoints come from.

use crate::decode::dns_servers::resolver;
use crate::decode::endpoints::endpoints;
use crate::decode::tls::over_ads;
use crate::decode::{Fault, Scope, fields, type_name};
use crate::{Discovery, DnsFamily, DnsServers, DnsSettings, EndpointAddress, Endpoints};
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster;
use gateway_xds_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use gateway_xds_api::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use gateway_xds_api::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as NewFamily;
use gateway_xds_api::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use gateway_xds_api::pb::google::protobuf::Duration as PbDuration;
use gateway_xds_api::unpack;
use std::sync::Arc;
use std::time::Duration;

/// Names are not asked for more often than this on the word of an answer.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// Which addresses count.
pub(crate) fn dns_family(scope: &Scope, value: i32) -> Result<DnsFamily, Fault> {
    match cluster::DnsLookupFamily::try_from(value) {
        Ok(cluster::DnsLookupFamily::Auto) => Ok(DnsFamily::Auto),
        Ok(cluster::DnsLookupFamily::V4Only) => Ok(DnsFamily::V4),
        Ok(cluster::DnsLookupFamily::V6Only) => Ok(DnsFamily::V6),
        Ok(cluster::DnsLookupFamily::V4Preferred) => Ok(DnsFamily::V4Preferred),
        Ok(cluster::DnsLookupFamily::All) => Ok(DnsFamily::All),
        Err(_) => Err(scope.field_fault("dns_lookup_family", "is unknown")),
    }
}

fn failure_refresh(
    scope: &mut Scope,
    (base, max): (Option<PbDuration>, Option<PbDuration>),
) -> Result<(Duration, Duration), Fault> {
    scope.at("dns_failure_refresh_rate", |scope| {
        let base = scope.limit("base_interval", base, None)?;
        let base = scope.required("base_interval", base)?;
        let max = scope.limit("max_interval", max, None)?.unwrap_or(base * 10);
        match max < base {
            true => Err(scope.field_fault("max_interval", "is below base_interval")),
            false => Ok((base, max)),
        }
    })
}

/// Where endpoints come from.
pub(crate) fn discovery(
    scope: &mut Scope,
    kind: Option<cluster::ClusterDiscoveryType>,
    eds: Option<cluster::EdsClusterConfig>,
    assignment: Option<ClusterLoadAssignment>,
    dns: DnsSettings,
) -> Result<Discovery, Fault> {
    let kind = match kind {
        None => cluster::DiscoveryType::Static,
        Some(cluster::ClusterDiscoveryType::Type(kind)) => {
            cluster::DiscoveryType::try_from(kind).map_err(|_| scope.field_fault("type", "is unknown"))?
        }
        Some(cluster::ClusterDiscoveryType::ClusterType(custom)) => {
            return scope.at("cluster_type", |scope| extension(scope, custom, assignment));
        }
    };
    if kind == cluster::DiscoveryType::Eds {
        let cluster::EdsClusterConfig { eds_config, service_name } =
            scope.required("eds_cluster_config", eds)?;
        over_ads(scope, "eds_cluster_config.eds_config", eds_config)?;
        return Ok(Discovery::Eds {
            service_name: Some(service_name).filter(|name| !name.is_empty()).map(Into::into),
        });
    }
    match kind {
        cluster::DiscoveryType::Static => {
            let written = written(scope, assignment)?;
            let mut all = written.localities.iter().flat_map(|locality| &locality.endpoints);
            match all.any(|endpoint| matches!(endpoint.address, EndpointAddress::Name { .. })) {
                true => Err(scope.field_fault(
                    "load_assignment",
                    "a STATIC cluster needs ip addresses; use STRICT_DNS for names",
                )),
                false => Ok(Discovery::Static(Arc::new(written))),
            }
        }
        cluster::DiscoveryType::StrictDns => {
            Ok(Discovery::StrictDns(Arc::new(written(scope, assignment)?), dns))
        }
        cluster::DiscoveryType::LogicalDns => logical(scope, assignment, dns),
        cluster::DiscoveryType::Eds | cluster::DiscoveryType::OriginalDst => {
            Err(scope.field_fault("type", "ORIGINAL_DST is not supported"))
        }
    }
}

fn written(scope: &mut Scope, assignment: Option<ClusterLoadAssignment>) -> Result<Endpoints, Fault> {
    scope.at("load_assignment", |scope| endpoints(scope, assignment.unwrap_or_default()))
}

fn logical(
    scope: &mut Scope,
    assignment: Option<ClusterLoadAssignment>,
    dns: DnsSettings,
) -> Result<Discovery, Fault> {
    let written = written(scope, assignment)?;
    match written.localities.iter().map(|locality| locality.endpoints.len()).sum::<usize>() {
        1 => Ok(Discovery::LogicalDns(Arc::new(written), dns)),
        _ => Err(scope.field_fault("load_assignment", "a LOGICAL_DNS cluster needs exactly one endpoint")),
    }
}

/// Kinds of clusters that are extensions.
fn extension(
    scope: &mut Scope,
    custom: cluster::CustomClusterType,
    assignment: Option<ClusterLoadAssignment>,
) -> Result<Discovery, Fault> {
    let any = scope.required("typed_config", custom.typed_config)?;
    match type_name(&any).strip_prefix("envoy.extensions.clusters.") {
        Some("dns.v3.DnsCluster") => {
            let message: DnsCluster = unpack(&any).map_err(|error| scope.fault(error))?;
            fields!(scope, message => DnsCluster {
                use { typed_dns_resolver_config, dns_min_refresh_rate, dns_refresh_rate, dns_failure_refresh_rate, dns_jitter, dns_lookup_family, all_addresses_in_single_endpoint, respect_dns_ttl }
                warn { }
                quiet { }
            });
            let failure = dns_failure_refresh_rate.map(|rate| (rate.base_interval, rate.max_interval));
            let names = Names {
                refresh: dns_refresh_rate,
                failure,
                jitter: dns_jitter,
                min_refresh: dns_min_refresh_rate,
                respect_ttl: respect_dns_ttl,
                servers: typed_dns_resolver_config
                    .map(|config| resolver(scope, config))
                    .transpose()?
                    .flatten(),
            };
            let dns = dns_settings(scope, names, new_family(scope, dns_lookup_family)?)?;
            match all_addresses_in_single_endpoint {
                true => logical(scope, assignment, dns),
                false => Ok(Discovery::StrictDns(Arc::new(written(scope, assignment)?), dns)),
            }
        }
        Some("aggregate.v3.ClusterConfig") => {
            let ClusterConfig { clusters } = unpack(&any).map_err(|error| scope.fault(error))?;
            match clusters.is_empty() {
                true => Err(scope.field_fault("clusters", "is empty")),
                false => Ok(Discovery::Aggregate(clusters.into_iter().map(Into::into).collect())),
            }
        }
        _ => Err(scope.fault(format_args!("{} is not supported", type_name(&any)))),
    }
}

/// What a cluster says about resolutions.
pub(crate) struct Names {
    pub(crate) refresh: Option<PbDuration>,
    /// The shortest and the longest time after failures.
    pub(crate) failure: Option<(Option<PbDuration>, Option<PbDuration>)>,
    pub(crate) jitter: Option<PbDuration>,
    pub(crate) min_refresh: Option<PbDuration>,
    pub(crate) respect_ttl: bool,
    pub(crate) servers: Option<DnsServers>,
}

/// How names are resolved.
pub(crate) fn dns_settings(scope: &mut Scope, names: Names, family: DnsFamily) -> Result<DnsSettings, Fault> {
    Ok(DnsSettings {
        refresh: scope.limit("dns_refresh_rate", names.refresh, None)?.unwrap_or(Duration::from_secs(5)),
        failure_refresh: names.failure.map(|rate| failure_refresh(scope, rate)).transpose()?,
        jitter: scope.duration("dns_jitter", names.jitter)?.unwrap_or_default(),
        family,
        respect_ttl: names.respect_ttl,
        min_refresh: scope
            .limit("dns_min_refresh_rate", names.min_refresh, None)?
            .unwrap_or(SHORTEST_REFRESH),
        servers: names.servers,
    })
}

/// The numbers differ from those of `Cluster.dns_lookup_family`: here the first is "not said".
fn new_family(scope: &Scope, value: i32) -> Result<DnsFamily, Fault> {
    match NewFamily::try_from(value) {
        Ok(NewFamily::Unspecified | NewFamily::Auto) => Ok(DnsFamily::Auto),
        Ok(NewFamily::V4Only) => Ok(DnsFamily::V4),
        Ok(NewFamily::V6Only) => Ok(DnsFamily::V6),
        Ok(NewFamily::V4Preferred) => Ok(DnsFamily::V4Preferred),
        Ok(NewFamily::All) => Ok(DnsFamily::All),
        Err(_) => Err(scope.field_fault("dns_lookup_family", "is unknown")),
    }
}
