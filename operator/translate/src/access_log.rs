// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The access log: one JSON object for each request, on standard output.

use crate::canonical::{any_of, append, structure};
use gateway_xds_api::pb::envoy::config::accesslog::v3::{AccessLog, access_log::ConfigType};
use gateway_xds_api::pb::envoy::extensions::access_loggers::stream::v3::StdoutAccessLog;
use gateway_xds_api::pb::google::protobuf::value::Kind;

/// Field names and Envoy's command operators, in the order of the log line.
const FIELDS: &[(&str, &str)] = &[
    ("time", "%START_TIME%"),
    ("client", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("method", "%REQ(:METHOD)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration_ms", "%DURATION%"),
    ("upstream_ms", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream", "%UPSTREAM_HOST%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("route", "%ROUTE_NAME%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("server_name", "%REQUESTED_SERVER_NAME%"),
];

pub(crate) fn access_log() -> AccessLog {
    let fields: Vec<(&str, Kind)> =
        FIELDS.iter().map(|(name, operator)| (*name, Kind::StringValue((*operator).to_owned()))).collect();
    // SubstitutionFormatString.json_format, StdoutAccessLog.log_format
    let mut format = Vec::new();
    append(&mut format, 2, &structure(&fields));
    let mut log = Vec::new();
    append(&mut log, 1, &format);
    AccessLog {
        name: "envoy.access_loggers.stdout".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any_of::<StdoutAccessLog>(log))),
        ..AccessLog::default()
    }
}
