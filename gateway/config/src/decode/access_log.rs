// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes access logs and their filters.

use crate::access_log::{
    AccessLog, AccessLogs, Comparison, ComparisonKind, LogFilter, LogFormat, LogLine, LogSink,
};
use crate::decode::format::{format, json_format, parse};
use crate::decode::metadata_match::metadata_matcher;
use crate::decode::route_match::header_matcher;
use crate::decode::strings::percent;
use crate::decode::{Fault, Scope, fields, truth, type_name};
use gateway_xds_api::pb::envoy::config::accesslog::v3::{
    self as pb, access_log, access_log_filter::FilterSpecifier,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    DataSource, RuntimeUInt32, SubstitutionFormatString, data_source,
    substitution_format_string::Format as Given,
};
use gateway_xds_api::pb::envoy::data::accesslog::v3::AccessLogType;
use gateway_xds_api::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use gateway_xds_api::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use gateway_xds_api::unpack;

/// Envoy's format where none is given.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";
/// Filters inside filters are read this deep.
const DEEPEST: usize = 16;
/// Flags that Envoy knows (`access_log.v3.ResponseFlagFilter`).
const FLAGS: &[&str] = &[
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX",
    "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO",
];

/// All access logs of a filter chain.
pub(crate) fn access_logs(scope: &mut Scope, logs: Vec<pb::AccessLog>) -> Result<AccessLogs, Fault> {
    let logs = scope.each("access_log", logs, access_log)?;
    Ok(AccessLogs::new(logs.into_iter().flatten().collect()))
}

/// None for a kind of log that has no effect here.
#[allow(deprecated, reason = "older forms of formats are still sent")]
fn access_log(scope: &mut Scope, log: pb::AccessLog) -> Result<Option<AccessLog>, Fault> {
    let pb::AccessLog { name: _, filter, config_type } = log;
    let filter = filter.map(|filter| scope.at("filter", |scope| log_filter(scope, filter, 0))).transpose()?;
    let access_log::ConfigType::TypedConfig(any) = scope.required("typed_config", config_type)?;
    let malformed = |scope: &Scope, error| scope.field_fault("typed_config", error);
    let (path, format) = match type_name(&any) {
        "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
            let FileAccessLog { path, access_log_format } =
                unpack(&any).map_err(|error| malformed(scope, error))?;
            if path.is_empty() {
                return Err(scope.field_fault("path", "is empty"));
            }
            (path, file_format(scope, access_log_format)?)
        }
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
            let StdoutAccessLog { access_log_format } =
                unpack(&any).map_err(|error| malformed(scope, error))?;
            let format =
                access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
            ("/dev/stdout".to_owned(), log_format(scope, format)?)
        }
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
            let StderrAccessLog { access_log_format } =
                unpack(&any).map_err(|error| malformed(scope, error))?;
            let format =
                access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
            ("/dev/stderr".to_owned(), log_format(scope, format)?)
        }
        other => {
            scope.warn("typed_config", format_args!("the access log {other} has no effect in this gateway"));
            return Ok(None);
        }
    };
    Ok(Some(AccessLog { sink: LogSink::File(path.into()), format, filter }))
}

#[allow(deprecated, reason = "older forms of formats are still sent")]
fn file_format(
    scope: &mut Scope,
    given: Option<file_access_log::AccessLogFormat>,
) -> Result<LogFormat, Fault> {
    use file_access_log::AccessLogFormat as File;
    let line = match given {
        Some(File::LogFormat(format)) => return log_format(scope, Some(format)),
        Some(File::JsonFormat(json)) => LogLine::Json(json_format(scope, "json_format", json)?),
        Some(File::TypedJsonFormat(json)) => LogLine::Json(json_format(scope, "typed_json_format", json)?),
        Some(File::Format(text)) if !text.is_empty() => LogLine::Text(format(scope, "format", &text)?),
        Some(File::Format(_)) | None => return log_format(scope, None),
    };
    Ok(LogFormat { line, omit_empty: false })
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn log_format(
    scope: &mut Scope,
    given: Option<SubstitutionFormatString>,
) -> Result<LogFormat, Fault> {
    let Some(given) = given else {
        let line = parse(DEFAULT).map_err(|message| scope.fault(message))?;
        return Ok(LogFormat { line: LogLine::Text(line), omit_empty: false });
    };
    scope.at("log_format", |scope| {
        fields!(scope, given => SubstitutionFormatString {
            use { omit_empty_values, formatters, format }
            warn { }
            quiet { content_type, json_format_options }
        });
        if let Some(formatter) = formatters.first() {
            let message = format_args!("the formatter {:?} is not supported", formatter.name);
            return Err(scope.field_fault("formatters", message));
        }
        let line = match scope.required("format", format)? {
            Given::TextFormat(text) => LogLine::Text(self::format(scope, "text_format", &text)?),
            Given::JsonFormat(json) => LogLine::Json(json_format(scope, "json_format", json)?),
            Given::TextFormatSource(source) => {
                let text = inline(scope, source)?;
                LogLine::Text(self::format(scope, "text_format_source", &text)?)
            }
        };
        Ok(LogFormat { line, omit_empty: omit_empty_values })
    })
}

fn inline(scope: &Scope, source: DataSource) -> Result<String, Fault> {
    let fault = |message| scope.field_fault("text_format_source", message);
    match source.specifier {
        Some(data_source::Specifier::InlineString(text)) => Ok(text),
        Some(data_source::Specifier::InlineBytes(bytes)) => {
            String::from_utf8(bytes).map_err(|_| fault("is not UTF-8"))
        }
        Some(data_source::Specifier::Filename(_) | data_source::Specifier::EnvironmentVariable(_)) | None => {
            Err(fault("must be inline_string or inline_bytes"))
        }
    }
}

pub(crate) fn log_filter(
    scope: &mut Scope,
    filter: pb::AccessLogFilter,
    depth: usize,
) -> Result<LogFilter, Fault> {
    if depth > DEEPEST {
        return Err(scope.fault(format_args!("lies deeper than {DEEPEST} filters")));
    }
    let inner = |scope: &mut Scope, field: &str, filters: Vec<pb::AccessLogFilter>| {
        if filters.is_empty() {
            return Err(scope.field_fault(field, "is empty"));
        }
        Ok(scope.each(field, filters, |scope, filter| log_filter(scope, filter, depth + 1))?.into())
    };
    Ok(match scope.required("filter_specifier", filter.filter_specifier)? {
        FilterSpecifier::StatusCodeFilter(filter) => {
            LogFilter::Status(comparison(scope, "status_code_filter", filter.comparison)?)
        }
        FilterSpecifier::DurationFilter(filter) => {
            LogFilter::Duration(comparison(scope, "duration_filter", filter.comparison)?)
        }
        FilterSpecifier::NotHealthCheckFilter(_) => LogFilter::NotHealthCheck,
        FilterSpecifier::TraceableFilter(_) => LogFilter::Traceable,
        FilterSpecifier::RuntimeFilter(filter) => {
            let pb::RuntimeFilter { runtime_key: _, percent_sampled, use_independent_randomness } = filter;
            // Without a default Envoy samples by the runtime key, whose default is zero.
            let fraction = scope.at("runtime_filter.percent_sampled", |scope| {
                percent(scope, percent_sampled.unwrap_or_default())
            })?;
            LogFilter::Share { fraction, independent: use_independent_randomness }
        }
        FilterSpecifier::AndFilter(filter) => {
            LogFilter::All(inner(scope, "and_filter.filters", filter.filters)?)
        }
        FilterSpecifier::OrFilter(filter) => {
            LogFilter::Any(inner(scope, "or_filter.filters", filter.filters)?)
        }
        FilterSpecifier::HeaderFilter(filter) => scope.at("header_filter.header", |scope| {
            Ok(LogFilter::Header(header_matcher(scope, filter.header.unwrap_or_default())?))
        })?,
        FilterSpecifier::ResponseFlagFilter(filter) => {
            if let Some(unknown) = filter.flags.iter().find(|flag| !FLAGS.contains(&flag.as_str())) {
                return Err(
                    scope.field_fault("response_flag_filter.flags", format_args!("{unknown:?} is no flag"))
                );
            }
            LogFilter::Flags(filter.flags.into_iter().map(String::into_boxed_str).collect())
        }
        FilterSpecifier::GrpcStatusFilter(filter) => {
            LogFilter::GrpcStatus { statuses: filter.statuses.into(), exclude: filter.exclude }
        }
        FilterSpecifier::LogTypeFilter(filter) => {
            let wanted = |end: AccessLogType| {
                let ends = [AccessLogType::NotSet as i32, end as i32];
                filter.types.iter().any(|kind| ends.contains(kind)) != filter.exclude
            };
            LogFilter::Kind {
                request: wanted(AccessLogType::DownstreamEnd),
                session: wanted(AccessLogType::UdpSessionEnd),
            }
        }
        FilterSpecifier::MetadataFilter(filter) => {
            let pb::MetadataFilter { matcher, match_if_key_not_found } = filter;
            let absent = truth(match_if_key_not_found, true);
            let matcher = scope.required("metadata_filter.matcher", matcher)?;
            let matcher = scope.at("metadata_filter.matcher", |scope| metadata_matcher(scope, matcher))?;
            LogFilter::Metadata { matcher, absent }
        }
        FilterSpecifier::ExtensionFilter(filter) => {
            let message = format_args!("the log filter {:?} is not supported", filter.name);
            return Err(scope.field_fault("extension_filter", message));
        }
    })
}

fn comparison(scope: &Scope, field: &str, given: Option<pb::ComparisonFilter>) -> Result<Comparison, Fault> {
    use pb::comparison_filter::Op;
    let pb::ComparisonFilter { op, value } = scope.required(field, given)?;
    // The runtime key has no effect, its default counts.
    let RuntimeUInt32 { default_value, runtime_key: _ } = scope.required(field, value)?;
    let how = match Op::try_from(op) {
        Ok(Op::Eq) => ComparisonKind::Equal,
        Ok(Op::Ge) => ComparisonKind::AtLeast,
        Ok(Op::Le) => ComparisonKind::AtMost,
        Ok(Op::Ne) => ComparisonKind::NotEqual,
        Err(_) => return Err(scope.field_fault(field, "has an unknown comparison")),
    };
    Ok(Comparison { how, value: default_value })
}
