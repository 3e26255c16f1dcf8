// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes who is asked for addresses of host names, in the three forms in which clusters say it.

use crate::DnsServers;
use crate::decode::endpoints::socket_address;
use crate::decode::{Fault, Scope, fields, number, type_name};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, DnsResolutionConfig, DnsResolverOptions, TypedExtensionConfig,
};
use gateway_xds_api::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use gateway_xds_api::unpack;
use std::time::Duration;

/// `typed_dns_resolver_config`; none for the system's resolver.
pub(crate) fn resolver(scope: &mut Scope, config: TypedExtensionConfig) -> Result<Option<DnsServers>, Fault> {
    scope.at("typed_dns_resolver_config", |scope| {
        let any = scope.required("typed_config", config.typed_config)?;
        match type_name(&any).strip_prefix("envoy.extensions.network.dns_resolver.") {
            Some("getaddrinfo.v3.GetAddrInfoDnsResolverConfig") => Ok(None),
            Some("cares.v3.CaresDnsResolverConfig") => {
                let message = unpack(&any).map_err(|error| scope.fault(error))?;
                cares(scope, message).map(Some)
            }
            _ => {
                Err(scope
                    .fault(format_args!("{} is not supported; use cares or getaddrinfo", type_name(&any))))
            }
        }
    })
}

fn cares(scope: &mut Scope, message: CaresDnsResolverConfig) -> Result<DnsServers, Fault> {
    fields!(scope, message => CaresDnsResolverConfig {
        use { resolvers, dns_resolver_options, query_timeout_seconds, query_tries }
        warn { use_resolvers_as_fallback, filter_unroutable_families, edns0_max_payload_size }
        quiet { udp_max_queries, rotate_nameservers, max_udp_channel_duration, reinit_channel_on_timeout, qcache_max_ttl }
    });
    let servers = servers(scope, "resolvers", resolvers, dns_resolver_options)?;
    let timeout = query_timeout_seconds.map(|seconds| Duration::from_secs(seconds.value.clamp(1, 3600)));
    Ok(DnsServers { timeout, tries: number(query_tries).map(|tries| tries.clamp(1, 16)), ..servers })
}

/// The older forms: `dns_resolution_config`, or single fields.
pub(crate) fn older(
    scope: &mut Scope,
    config: Option<DnsResolutionConfig>,
    (resolvers, tcp): (Vec<Address>, bool),
) -> Result<Option<DnsServers>, Fault> {
    if let Some(DnsResolutionConfig { resolvers, dns_resolver_options }) = config {
        return scope.at("dns_resolution_config", |scope| {
            servers(scope, "resolvers", resolvers, dns_resolver_options).map(Some)
        });
    }
    if resolvers.is_empty() && !tcp {
        return Ok(None);
    }
    let options = DnsResolverOptions { use_tcp_for_dns_lookups: tcp, no_default_search_domain: false };
    servers(scope, "dns_resolvers", resolvers, Some(options)).map(Some)
}

fn servers(
    scope: &mut Scope,
    field: &str,
    resolvers: Vec<Address>,
    options: Option<DnsResolverOptions>,
) -> Result<DnsServers, Fault> {
    let servers = scope.each(field, resolvers, |scope, address| socket_address(scope, Some(address)))?;
    let options = options.unwrap_or_default();
    Ok(DnsServers {
        servers: servers.into(),
        tcp: options.use_tcp_for_dns_lookups,
        no_search: options.no_default_search_domain,
        ..DnsServers::default()
    })
}
