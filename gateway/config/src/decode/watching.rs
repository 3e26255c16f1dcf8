// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters that watch traffic and change none: without them requests are served alike, so they are left out with a warning. Control
//! planes put them into every listener, and a rejection of the listener would be worse than missing numbers.

use crate::decode::{Fault, Scope, type_name};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;

/// Types of settings, and what is missing without them. Istio's are in Istio's build of Envoy alone.
const WATCHING: [(&str, &str); 5] = [
    ("envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", "messages of gRPC are not counted"),
    ("stats.PluginConfig", "the gateway counts istio_* itself where its bootstrap says istioMetrics"),
    ("io.istio.http.peer_metadata.Config", "peers are not told apart by their workloads' metadata"),
    ("envoy.tcp.metadataexchange.config.MetadataExchange", "metadata is not exchanged with peers"),
    (
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "upstream TLS offers the protocols that the cluster names",
    ),
];

/// Settings whose type is named inside of them.
const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

/// Whether a filter only watches; then the warning is given.
pub(crate) fn is_left_out(scope: &mut Scope, any: &Any) -> Result<bool, Fault> {
    let inner;
    let kind = match type_name(any) {
        name if TYPED_STRUCTS.contains(&name) => {
            // The first two fields have the numbers and the wire types of Any's.
            let like = Any { type_url: "google.protobuf.Any".to_owned(), value: any.value.clone() };
            inner = unpack::<Any>(&like).map_err(|error| scope.fault(error))?;
            type_name(&inner)
        }
        name => name,
    };
    let Some((_, missing)) = WATCHING.iter().find(|(name, _)| *name == kind) else { return Ok(false) };
    scope.warn("typed_config", format_args!("the filter {kind} is left out: {missing}"));
    Ok(true)
}
