// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The JSON access log: Envoy's operators under the names that its default format uses.

use gateway_xds_api::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use gateway_xds_api::pb::google::protobuf::Any;
use prost::encoding::{WireType, encode_key, encode_varint};

/// Field and operator, sorted by field.
const FIELDS: [(&str, &str); 19] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

const TYPE: &str = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";

/// One line for each request on standard output.
///
/// Written field by field, as the generated type for JSON objects has no order and would give other bytes each time.
pub(crate) fn stdout_json() -> AccessLog {
    let mut object = Vec::new();
    for (field, operator) in FIELDS {
        let mut value = Vec::new();
        bytes(3, operator.as_bytes(), &mut value); // Value.string_value
        let mut entry = Vec::new();
        bytes(1, field.as_bytes(), &mut entry);
        bytes(2, &value, &mut entry);
        bytes(1, &entry, &mut object); // Struct.fields
    }
    let mut format = Vec::new();
    bytes(2, &object, &mut format); // SubstitutionFormatString.json_format
    let mut log = Vec::new();
    bytes(1, &format, &mut log); // StdoutAccessLog.log_format
    AccessLog {
        name: "envoy.access_loggers.stdout".to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(Any { type_url: TYPE.to_owned(), value: log })),
        ..Default::default()
    }
}

fn bytes(tag: u32, content: &[u8], into: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, into);
    encode_varint(content.len() as u64, into);
    into.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, stdout_json};
    use gateway_xds_api::pb::envoy::config::accesslog::v3::access_log::ConfigType;
    use gateway_xds_api::pb::envoy::config::core::v3::substitution_format_string::Format;
    use gateway_xds_api::pb::envoy::extensions::access_loggers::stream::v3::StdoutAccessLog;
    use gateway_xds_api::pb::envoy::extensions::access_loggers::stream::v3::stdout_access_log::AccessLogFormat;

    #[test]
    fn it_reads_back_as_the_message_it_claims_to_be() {
        let Some(ConfigType::TypedConfig(any)) = stdout_json().config_type else { panic!() };
        let log: StdoutAccessLog = gateway_xds_api::unpack(&any).unwrap();
        let Some(AccessLogFormat::LogFormat(format)) = log.access_log_format else { panic!() };
        let Some(Format::JsonFormat(object)) = format.format else { panic!() };
        assert_eq!(object.fields.len(), FIELDS.len());
        assert!(FIELDS.is_sorted());
    }
}
